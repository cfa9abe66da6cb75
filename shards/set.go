package shards

import (
	"context"
	"math/bits"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/keytable"
	"github.com/firstseen/firstseen/internal/sabotage"
)

// A Kind says what a record of the log does.
type Kind uint8

const (
	Mark   Kind = iota // the keys are remembered
	Forget             // all marks so far of the keys are taken back
	NoKind             // what no engine writes
)

// A Record is what a shard hands to the log: keys of one form, marked or
// forgotten in one generation. The payload holds 16 bytes per key of the fixed
// forms (hash and rest, little endian), a length byte and the record for the
// others, and 8 bytes (the hash) without a store.
type Record struct {
	Kind       Kind
	Form       hash.Form
	Shard      int
	Generation uint64
	Count      int
	Now        int64 // ns of the engine's clock
	Payload    []byte
	Alone      bool // no other record of its call follows
}

// A Log orders marks and makes them durable. Append is called with a shard
// locked: it must not wait. The payload may be reused once it returns.
type Log interface {
	Append(r *Record) (start, end uint64, err error)
}

// A Confirmer looks for keys in the runs of their shards. It sets Found and Seq of
// each pending key that a run of the asked generations holds. No lock is held.
type Confirmer interface {
	// Offer tells what is pending of a batch that is still being decided, more from call
	// to call. Those keys stay where they are, so it may begin with them, in other
	// goroutines too, until Confirm, which always follows, has returned.
	Offer(b *Batch, pending []Pending)
	Confirm(b *Batch, pending []Pending) error
}

// Config describes a Set. Every field without "may" is required.
type Config struct {
	Shards      int // a power of two up to MaxShards
	Hasher      *hash.Hasher
	Kind        bloom.Kind
	Filter      bloom.Config // of one shard
	Generation  uint64       // the live one
	Generations int
	Log         Log
	Confirmer   Confirmer // nil without a store: then a "maybe" is a Duplicate
	MaxKeys     int       // unflushed keys of a shard's table before it is sealed, less than keytable.MaxKeys by MaxPart
	MaxSealed   int       // sealed tables of all shards beside which there is memory for active ones: with more callers wait
	Refresh     bool      // a call that may mark also marks, in the live generation, a key that only older ones hold
	Nonce       uint64    // start of the claims' numbers; may differ at each opening
	Sealed      func()    // called with a shard locked when a table was sealed: must not wait
}

// A Set is all shards. See the package's documentation.
type Set struct {
	c         Config
	shardBits uint
	shards    []shard
	pool      keytable.Pool
	nonce     atomic.Uint64
	nSealed   atomic.Int64
	oldest    atomic.Uint64 // generation: those before it are out of the window
	maxKeys   atomic.Int64  // see Config.MaxKeys
	filled    atomic.Int64  // see Filled
	lastKeys  atomic.Uint64 // see LastKeys
	records   atomic.Bool   // see HasRecords
	refusal   atomic.Pointer[error]
	waits     atomic.Uint64 // see Waits

	queue struct {
		sync.Mutex
		tables []*Unflushed
		room   chan struct{} // closed and renewed when a table leaves
	}
}

// NewSet returns a set with empty filters and one live generation.
func NewSet(c Config) (*Set, error) {
	s := &Set{c: c, shardBits: uint(bits.TrailingZeros(uint(c.Shards))), shards: make([]shard, c.Shards)}
	s.queue.room = make(chan struct{})
	s.nonce.Store(c.Nonce)
	_ = s.SetMaxKeys(c.MaxKeys, 0) // makes nothing, so nothing fails
	s.pool.SetLimit((TableSets - 1) * c.Shards)
	for i := range s.shards {
		f, err := bloom.New(c.Kind, c.Filter)
		if err != nil {
			s.Close()
			return nil, err
		}
		s.shards[i].init(s, i, f)
	}
	return s, nil
}

// Slots returns the filter's slots that hold a generation's keys in any shard, as bits.
func (s *Set) Slots(generation uint64) (mask uint8) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.lockLater()
		mask |= sh.slots.of(generation)
		sh.mu.Unlock()
	}
	return mask
}

// Whole reports whether each shard has all of a generation's keys in one slot, so that
// Column gives its bits.
func (s *Set) Whole(generation uint64) bool {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.lockLater()
		n := bits.OnesCount8(sh.slots.of(generation))
		sh.mu.Unlock()
		if n != 1 {
			return false
		}
	}
	return true
}

// Crowded reports whether more than a quarter of the shards have far more keys in some
// slot than it is made for: none is free, or tables hold more than a slot. The filter is
// too small then.
func (s *Set) Crowded() bool {
	crowded := 0
	for i := range s.shards {
		sh := &s.shards[i]
		sh.lockLater()
		if sh.slots.crowded() {
			crowded++
		}
		sh.mu.Unlock()
	}
	return 4*crowded > len(s.shards)
}

// Route fills b with keys, at most MaxPart of valid length, and announces the
// filter lines and table rows of the first shards to the memory, so that they
// overlap with what the caller does next; those of the others follow while keys are
// decided (17 M keys/s against 8 without).
func (s *Set) Route(b *Batch, keys [][]byte) {
	b.route(s.c.Hasher, keys, s.shardBits)
	if b.n == 1 {
		s.shards[b.single].announce(b.form[0], b.order)
		return
	}
	for i := range min(ahead, len(s.shards)) {
		s.announce(b, i)
	}
}

// fullKeys is the number of keys that a full table has room for.
func (s *Set) fullKeys() int { return int(s.maxKeys.Load()) + MaxPart }

// TableSets is how many full tables a shard has memory for: the active one, the one
// that takes its place at a rotation, when all shards seal at once, and one more,
// since by the next rotation of a fast stream the flush has not given all back.
const TableSets = 3

// Warm makes the memory of a shard resident, before calls come: its filter's and,
// that of some full tables, with that of their records where one is
// expected to take record bytes, its length included, and not 0. In
// a caller the first touch costs up to 3 ms a MB. It may run for several shards at once.
func (s *Set) Warm(shard, tables, record int) error {
	(*s.shards[shard].filter.Load()).Touch()
	for range tables {
		if err := s.pool.Warm(record); err != nil {
			return err
		}
	}
	return nil
}

// SetMaxKeys changes Config.MaxKeys. Where ahead is not 0, so many tables of the new size
// are made resident before: in a caller the first touch would take up to 3 ms a MB.
func (s *Set) SetMaxKeys(keys, ahead int) error {
	if err := s.pool.Resize(keys+MaxPart, ahead); err != nil {
		return err
	}
	s.maxKeys.Store(int64(keys))
	s.filled.Store(0)
	return nil
}

// HasRecords reports whether keys of variable length have come: tables for them take
// ArenaPerKey bytes per key more.
func (s *Set) HasRecords() bool { return s.records.Load() }

// MaxKeys returns Config.MaxKeys as it is now.
func (s *Set) MaxKeys() int { return int(s.maxKeys.Load()) }

// Filled returns how many tables were sealed because they were full since the live generation
// began, or SetMaxKeys.
func (s *Set) Filled() int { return int(s.filled.Load()) }

// WantsTables reports whether no full table is ready to take the place of the active ones,
// those are a quarter full, and there are fewer than TableSets for each shard: see AddTables.
func (s *Set) WantsTables() bool {
	if s.pool.Ready() > 0 {
		return false
	}
	unflushed, most, full := 0, s.MaxKeys(), 0
	for i := range s.shards {
		sh := &s.shards[i]
		sh.lockLater()
		unflushed += sh.active.keys
		for _, u := range append(sh.sealed, sh.active) {
			for _, t := range u.tables {
				if t != nil && t.Cap() == s.fullKeys() {
					full++
				}
			}
		}
		sh.mu.Unlock()
	}
	return 4*unflushed > most*len(s.shards) && full < TableSets*len(s.shards)
}

// AddTables makes full tables resident, one for each shard.
func (s *Set) AddTables() error {
	for range s.shards {
		if err := s.pool.Warm(0); err != nil {
			return err
		}
	}
	return nil
}

// Tombstones counts the forgotten keys that are remembered as such.
func (s *Set) Tombstones() (n int) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.lockLater()
		n += len(sh.tombs)
		sh.mu.Unlock()
	}
	return n
}

// LiveKeys counts the keys marked in the live generation since it began or
// since opening.
func (s *Set) LiveKeys() (n uint64) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.lockLater()
		n += sh.live
		sh.mu.Unlock()
	}
	return n
}

// LastKeys counts the keys marked in the generation before the live one, since opening.
func (s *Set) LastKeys() uint64 { return s.lastKeys.Load() }

// Seal seals the unflushed keys of every shard whose oldest one was logged
// below pos.
func (s *Set) Seal(below uint64) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.lockLater()
		if !sh.active.empty() && sh.active.first < below {
			sh.seal()
		}
		sh.mu.Unlock()
	}
}

// Sealed returns how many sealed tables have not been published.
func (s *Set) Sealed() int { return int(s.nSealed.Load()) }

// Next takes the oldest sealed table that nobody took yet, or nil.
func (s *Set) Next() *Unflushed {
	s.queue.Lock()
	defer s.queue.Unlock()
	if len(s.queue.tables) == 0 {
		return nil
	}
	u := s.queue.tables[0]
	s.queue.tables = s.queue.tables[1:]
	return u
}

// PutBack undoes Next: the tables, in the order they were taken, come first again.
// A shard's tables must be flushed in their order, since its runs say how far in
// the log they reach.
func (s *Set) PutBack(tables []*Unflushed) {
	s.queue.Lock()
	defer s.queue.Unlock()
	s.queue.tables = append(slices.Clone(tables), s.queue.tables...)
}

// Published takes a flushed table out of memory. install, called with the
// shard locked, makes its runs visible to the Confirmer, so that no look-up
// finds the keys in neither place.
func (s *Set) Published(u *Unflushed, install func()) {
	sh := &s.shards[u.Shard]
	sh.lockLater()
	install()
	for i, t := range sh.sealed {
		if t == u {
			sh.sealed = append(sh.sealed[:i:i], sh.sealed[i+1:]...)
			break
		}
	}
	sh.version++
	sh.mu.Unlock()
	for _, t := range u.tables {
		s.pool.Recycle(t)
	}
	s.nSealed.Add(-1)
	s.wakeRoom()
}

// Install calls install with the shard locked; pending look-ups of the shard
// are repeated.
func (s *Set) Install(shard int, install func()) {
	sh := &s.shards[shard]
	sh.lockLater()
	install()
	sh.version++
	sh.mu.Unlock()
}

func (s *Set) wakeRoom() {
	s.queue.Lock()
	close(s.queue.room)
	s.queue.room = make(chan struct{})
	s.queue.Unlock()
}

// Refuse makes calls that wait for room fail with err, until Refuse(nil).
func (s *Set) Refuse(err error) {
	if err == nil {
		s.refusal.Store(nil)
		return
	}
	s.refusal.Store(&err)
	s.wakeRoom()
}

// Waits counts the parts of calls that had to wait for memory: see Config.MaxSealed.
func (s *Set) Waits() uint64 { return s.waits.Load() }

// waitRoom waits until a table has left or ctx ends, unless fewer than most are sealed.
func (s *Set) waitRoom(ctx context.Context, most int64) error {
	s.queue.Lock()
	room := s.queue.room
	s.queue.Unlock()
	if err := s.refusal.Load(); err != nil {
		return *err
	}
	if s.nSealed.Load() < most {
		return nil
	}
	if sabotage.On(sabotage.IgnoreContext) {
		ctx = context.WithoutCancel(ctx)
	}
	select {
	case <-room:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Tail returns the log position below which no frame is needed for the
// unflushed keys but those of the tables in done, given the log's end as it was
// before the call.
func (s *Set) Tail(end uint64, done map[*Unflushed]bool) uint64 {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.lockLater()
		for _, u := range sh.sealed {
			if !done[u] {
				end = min(end, u.first)
			}
		}
		if !sh.active.empty() {
			end = min(end, sh.active.first)
		}
		sh.mu.Unlock()
	}
	return end
}

// Sizes is what a Set holds.
type Sizes struct {
	Unflushed   uint64 // keys
	Sealed      int    // tables that wait for their flush
	Claims      int
	TableBytes  int64
	FilterBytes int64
	Fill        []float64 // by slot
	PredictRate float64   // of absent keys that are "maybe"
	LiveKeys    uint64    // marked in the live generation since it began or since opening
}

// Sizes sums over all shards.
func (s *Set) Sizes() Sizes {
	z := Sizes{Fill: make([]float64, s.c.Generations), Sealed: s.Sealed()}
	sampled := max(1, len(s.shards)/4) // four filters tell: hashes fill all alike
	for i := range s.shards {
		sh := &s.shards[i]
		sh.lockLater()
		z.FilterBytes += (*sh.filter.Load()).Bytes()
		z.Claims += sh.claims.live
		for _, u := range append(sh.sealed, sh.active) {
			z.Unflushed += uint64(u.keys)
			z.TableBytes += int64(u.Bytes())
		}
		sh.mu.Unlock()
		if i%sampled != 0 {
			continue
		}
		// A filter is sampled in pieces of some 20 µs: a call that goes from shard to
		// shard would meet a longer hold in each of them.
		sample := func(share func(f bloom.Filter) float64, to *float64) {
			sh.lockLater()
			*to += share(*sh.filter.Load()) / float64(len(s.shards)/sampled)
			sh.mu.Unlock()
			runtime.Gosched() // who waited for the lock is behind us in this processor's queue
		}
		sample(bloom.Filter.Rate, &z.PredictRate)
		for g := range z.Fill {
			sample(func(f bloom.Filter) float64 { return f.Fill(g) }, &z.Fill[g])
		}
	}
	z.TableBytes += s.pool.Bytes()
	return z
}

// Close frees the memory. No call may be under way or follow.
func (s *Set) Close() {
	for i := range s.shards {
		sh := &s.shards[i]
		if f := sh.filter.Load(); f != nil {
			(*f).Close()
		}
		if sh.active == nil {
			continue
		}
		for _, u := range append(sh.sealed, sh.active) {
			for _, t := range u.tables {
				t.Free()
			}
		}
	}
	s.pool.Close()
}

// Order returns a hash without its shard's bits, the place of a key within its
// shard.
func (s *Set) Order(hash uint64) uint64 { return hash << s.shardBits }

// Hash is the inverse of Order: the hash of a key of the shard.
func (s *Set) Hash(shard int, order uint64) uint64 { return whole(order, shard, s.shardBits) }
