package shards

import (
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/keytable"
)

// A Pair is one key of a table: see [keytable.Pair].
type Pair = keytable.Pair

const (
	// TableKeyBytes is what a full table takes per key, records apart.
	TableKeyBytes = keytable.KeyBytes
	// ArenaPerKey is what a full table takes per key more where keys have variable length.
	ArenaPerKey = keytable.RecordBytes
)

// Unflushed holds the keys that a shard marked in one generation since its last
// seal, a table for each form. The newest one of a shard takes marks; a sealed
// one doesn't change any more and waits for its flush.
//
// While it is active all of it is guarded by the shard's mu. From the seal on the flusher reads
// it without a lock: it has got the table from the queue, whose mutex publishes it. Slot alone
// still changes then: Grow moves it, so it is read with the shard locked. After Published the
// tables are the pool's.
type Unflushed struct {
	Shard      int
	Generation uint64
	Slot       int    // of the filter, in which all of its keys are; guarded by the shard's mu, also when sealed
	Seq        uint64 // counts the tables of a shard: newer overrides older; its runs keep it
	// End is the log position behind the last frame that lies wholly in this table or older
	// ones of the shard: once they are runs a replay skips frames up to it. Set by seal.
	End uint64
	// MaxPos is the log position behind the last frame of which it has a key. It lies behind
	// End only where a replay has split a frame between two tables. Set by seal.
	MaxPos     uint64
	Tombstones []Tombstone

	// tables are nil for forms of which no key has come. The pointers change while a table grows,
	// so who gives up the lock in between must compare them: see addPiece.
	tables [hash.Forms]*keytable.Table
	keys   int // in all tables, without forgotten ones
	// first is the log position of its first frame, once isLogged is set.
	isLogged bool
	first    uint64
}

// A Tombstone takes back all marks of a key with a lower sequence number.
type Tombstone struct {
	Form   hash.Form
	Hi, Lo uint64
	Record []byte // of the variable forms
}

// room reports whether n more keys of any form fit, where there is room for most;
// forgotten keys leave holes. The forms of a part are not known here, so each of them may be all
// n: their tables count together against most, and every arena must take n records.
func (u *Unflushed) room(n, most int) bool {
	used := n
	for _, t := range &u.tables {
		if t == nil {
			continue
		}
		if !t.RecordRoom(n) {
			return false
		}
		used += t.Used()
	}
	return used <= most
}

// Keys returns the number of keys, tombstones apart. Like Bytes it is for a sealed table, or with
// the shard locked.
func (u *Unflushed) Keys() int { return u.keys }

// Sorted appends the keys of one form to dst in the order of a run, and calls giveWay every
// 50 µs. Only for a sealed table.
func (u *Unflushed) Sorted(form hash.Form, dst []keytable.Pair, giveWay func()) []keytable.Pair {
	if t := u.tables[form]; t != nil {
		return t.Sorted(dst, giveWay)
	}
	return dst
}

// Record returns the stored bytes behind a pair of a variable form.
func (u *Unflushed) Record(form hash.Form, p keytable.Pair) []byte {
	return u.tables[form].Record(p)
}

// PrefetchRecord prefetches the record behind a pair of a variable form.
func (u *Unflushed) PrefetchRecord(form hash.Form, p keytable.Pair) {
	u.tables[form].PrefetchRecord(p)
}

func (u *Unflushed) has(form hash.Form, order, hi, lo uint64, record []byte) bool {
	t := u.tables[form]
	return t != nil && t.Has(order, hi, lo, record)
}

// Bytes returns the memory that the tables take.
func (u *Unflushed) Bytes() (n int) {
	for _, t := range u.tables {
		if t != nil {
			n += t.Bytes()
		}
	}
	return n
}

// RunBytes is an upper bound of what the runs of a sealed table take: the keys, 8 bytes per
// block of 16 keys, which is at most a third emptier than that, and some for each run.
func (u *Unflushed) RunBytes() (n int) {
	for _, t := range u.tables {
		if t != nil {
			n += t.StoredBytes() + 2*t.Len() + 16<<10
		}
	}
	return n + 2*keytable.MaxRecord*len(u.Tombstones) + 16<<10
}

// tombKey is a key as a map key: form, hash and rest or record. It has the whole key, so no hash
// decides which key is forgotten (I3).
func tombKey(form hash.Form, hi, lo uint64, record []byte) string {
	b := make([]byte, 0, 17+len(record))
	b = append(b, byte(form))
	for _, w := range [...]uint64{hi, lo} {
		for range 8 {
			b = append(b, byte(w))
			w >>= 8
		}
	}
	return string(append(b, record...))
}

// tombstoned is what a shard remembers of a tombstone: the number of the table that it was laid
// in, and the generation with which it goes. By then every mark that it overrides has gone too.
type tombstoned struct{ seq, generation uint64 }
