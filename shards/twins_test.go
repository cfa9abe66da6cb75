package shards

import (
	"slices"
	"sync"
	"testing"

	"github.com/firstseen/firstseen/internal/keytable"
)

// memLog is a Log in memory.
type memLog struct {
	mu      sync.Mutex
	records []loggedRecord
	end     uint64
	fail    error
	discard bool // keep nothing, for measurements
}

// marks returns how many marks are in the log, and sees to it that the payloads hold as
// many as the records say.
func (l *memLog) marks(t *testing.T) (n int) {
	t.Helper()
	for _, r := range l.records {
		if r.Kind != Mark {
			continue
		}
		in := len(r.Payload) / keytable.PairBytes
		if !r.Form.Fixed() {
			in = 0
			for p := r.Payload; len(p) > 0; p = p[1+int(p[0]):] {
				in++
			}
		}
		if in != r.Count {
			t.Fatalf("a record of %d marks has a payload of %d", r.Count, in)
		}
		n += in
	}
	return n
}

type loggedRecord struct {
	LogEntry
	start, end uint64
}

func (l *memLog) Append(r *LogEntry) (start, end uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return 0, 0, l.fail
	}
	start = l.end
	l.end += 8 + uint64(len(r.Payload))
	if !l.discard {
		c := *r
		c.Payload = slices.Clone(r.Payload)
		l.records = append(l.records, loggedRecord{c, start, l.end})
	}
	return start, l.end, nil
}

// memRuns is a Confirmer over maps. A run is what became of one table.
type memRuns struct {
	mu        sync.Mutex
	shardBits uint
	byShard   map[int][]*memRun // newest first
	asked     int
	// after is called once, behind an answer and before its caller gets it, with
	// no lock of ours held.
	after func()
}

type memRun struct {
	generation, seq, end uint64
	slots                uint8
	keys                 map[string]bool
	orders               []uint64
	tombstones           []Tombstone
}

// offered is what was offered of a batch, and answered at once.
type offered struct {
	pending []Pending
}

// Offer answers what is new, and panics where the batch breaks the contract.
func (m *memRuns) Offer(b *Batch, pending []Pending) {
	o, _ := b.Aside.(*offered)
	if o == nil {
		o = new(offered)
		b.Aside = o
	}
	o.moved(pending)
	m.answer(b, pending[len(o.pending):])
	o.pending = pending
}

func (m *memRuns) Confirm(b *Batch, pending []Pending) error {
	n := 0
	if o, _ := b.Aside.(*offered); o != nil {
		o.moved(pending)
		n, o.pending = len(o.pending), nil
	}
	m.answer(b, pending[n:])
	m.mu.Lock()
	m.asked++
	after := m.after
	m.after = nil
	m.mu.Unlock()
	if after != nil {
		after()
	}
	return nil
}

func (o *offered) moved(pending []Pending) {
	if n := len(o.pending); n > 0 && (len(pending) < n || &pending[0] != &o.pending[0]) {
		panic("pending keys moved between Offer and Confirm, or no Confirm followed")
	}
}

// moved takes over what a filter that took another's place has in its slots.
func (m *memRuns) moved(shard int, to func(slots uint8) uint8) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.byShard[shard] {
		r.slots = to(r.slots)
	}
}

// list returns a shard's runs.
func (m *memRuns) list(shard int) []memRun {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []memRun
	for _, r := range m.byShard[shard] {
		out = append(out, *r)
	}
	return out
}

func (m *memRuns) answer(b *Batch, pending []Pending) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range pending {
		p := &pending[i]
		form, order, lo, record := b.Key(p.I)
		shard := int(p.Shard)
		key := tombKey(form, wholeHash(order, shard, m.shardBits), lo, record)
		for _, r := range m.byShard[shard] {
			if r.generation >= b.Oldest() && p.Mask&r.slots != 0 && r.keys[key] {
				p.Found, p.Seq, p.Generation = true, r.seq, r.generation
				break
			}
		}
	}
}
