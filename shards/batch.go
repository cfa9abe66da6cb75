package shards

import (
	"math/bits"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/keytable"
	"github.com/firstseen/firstseen/internal/prefetch"
)

const (
	// MaxShards is the largest number of shards.
	MaxShards = 256
	// MaxPiece is the largest number of keys of a piece. Longer calls are decided piece by piece.
	// All keys of a piece may be of one shard, and then one part, under one lock.
	MaxPiece = keytable.MaxInsert
)

// A Batch is a piece of a call, up to MaxPiece keys: what was asked, the answers, and scratch memory.
// It is reused from call to call and used by one at a time.
type Batch struct {
	asked
	Answers
	scratch
	// Aside is what the Confirmer keeps with the batch.
	Aside any
}

// Answers is what a call gets.
type Answers struct {
	// Out receives the verdicts, in the order of the keys.
	Out []dedup.Verdict
	// Marked, where it is not nil, receives for each key that is claimed and Duplicate the
	// generation that it was marked in, in the order of the keys.
	Marked []uint64
	// WaitPos is the position of the log that the answers rest on: the caller waits for it
	// before it answers (I1).
	WaitPos uint64
	// Logged sums the bytes of log that the call took; the caller resets it.
	Logged int
	// Counts sums how the verdicts were found.
	Counts Counts

	claims []dedup.Claim // where Claim answers
}

// asked is the keys of a batch and what the call is for. It is set before the batch is decided
// and does not change meanwhile, but for the keys of claims, which only their shards know.
//
// Routing takes each key to pieces and puts the keys of each shard side by side, in the order
// of the call. From there on key i is form[i], order[i], lo[i] and record[i]:
//
//   - order is the first hash word without the bits that are the shard's number; hi gives the
//     whole word back. It chooses filter line and table row, and is the order of runs.
//   - lo is the second word. Where the form is fixed the two words are the whole key (I3).
//   - record is the stored bytes of a key of a variable form, which decide about it then.
//   - at is where its answer goes: the key's index in the call.
type asked struct {
	n      int
	keys   [][]byte // as the caller gave them: record points into them
	order  []uint64
	lo     []uint64
	form   []hash.Form
	record [][]byte               // not used where all forms are fixed
	digest [][hash.DigestLen]byte // memory of the records of keys that are too long to keep
	at     []int32
	start  [MaxShards + 1]int32 // of each shard's keys, where there are several
	single int                  // the shard of a batch of one key, which has no start
	fixed  bool                 // all keys have fixed forms
	alike  bool                 // all keys have one form

	op    Op
	now   int64
	lease int64
}

// scratch is memory that a call needs on the way.
type scratch struct {
	his     []uint64 // hashes, second words and forms in the order of the call, before routing
	los     []uint64
	forms   []hash.Form
	out     []dedup.Verdict   // for calls that ask for no verdicts
	tokens  []token           // of claims that are ended, in the order of the call
	slots   []uint32          // of their claims by shard, and of those that are going to be marked
	numbers []uint64          // of their tokens by shard
	held    []place           // of new claims, in the order of the call
	nonce   uint64            // of the claim of the first key
	oldest  uint64            // generation that counts
	version [MaxShards]uint64 // of each shard at the first look, see secondLook
	added   [MaxShards]uint64 // of each shard after the first look, see decideConfirmed
	mask    []uint8           // slots of the filter that may hold each key
	pending []Pending         // keys that the runs are asked for
	next    prefetch.Queue    // keys of the shard that is shardsAhead of the one being decided

	// Of the part at hand.
	fresh   marks   // newly marked keys
	maybes  []int32 // keys with a mask that is not 0
	spilled []int32 // places in fresh of those that found no place at once, keys that a sealed table is asked for
	payload []byte
	rec     LogEntry

	candidates []uint32 // see keytable.Table.Candidates, for the keys in maybes
}

// Counts sums how answers were found.
type Counts struct {
	Fresh, Duplicate, InFlight, Unknown   uint64
	Unflushed, Confirmed, FalsePositive   uint64 // New is Fresh without FalsePositive
	RunsAsked, Helped, Again              uint64
	DiskWait                              uint64 // ns
	Claimed, Committed, Released, Expired uint64
	Lost, Refreshed                       uint64
}

// A Pending is a key that only the runs can decide.
type Pending struct {
	I     int32  // the key's place in the batch
	Shard uint16 // its shard
	Mask  uint8  // slots of the filter whose runs are to be asked
	Found bool   // set by the Confirmer
	Seq   uint64 // with Found: sequence number of the newest run that holds it
	// With Found: the generation of that run.
	Generation uint64
}

// Oldest returns the oldest generation that counts for the batch.
func (b *Batch) Oldest() uint64 { return b.oldest }

// Fixed reports whether all keys have fixed forms.
func (b *Batch) Fixed() bool { return b.fixed }

// Len returns the number of keys.
func (b *Batch) Len() int { return b.n }

// Key returns the stored form of the i-th routed key; record is nil for the
// fixed forms.
func (b *Batch) Key(i int32) (form hash.Form, order, lo uint64, record []byte) {
	return b.form[i], b.order[i], b.lo[i], b.recordOf(int(i))
}

func (b *Batch) recordOf(i int) []byte {
	if b.fixed {
		return nil
	}
	return b.record[i]
}

// part returns where the keys of a shard stand: a part of the batch is what is decided under
// one lock.
func (b *Batch) part(shard int) (from, to int) { return int(b.start[shard]), int(b.start[shard+1]) }

// hi restores the first hash word of a key of the shard, as tables, runs and frames keep it.
func (s *shard) hi(order uint64) uint64 { return wholeHash(order, s.index, s.set.shardBits) }

func wholeHash(order uint64, shard int, shardBits uint) uint64 {
	return order>>shardBits | bits.RotateLeft64(uint64(shard), -int(shardBits))
}

func (b *Batch) answer(i int, v dedup.Verdict) { b.Out[b.at[i]] = v }
