package persist

import (
	"encoding/binary"
	"runtime/debug"

	"github.com/firstseen/firstseen/internal/prefetch"
	"github.com/firstseen/firstseen/internal/sabotage"
)

// A Query asks a run for one key.
type Query struct {
	Order uint64
	Lo    uint64 // fixed forms
	Key   []byte // variable forms
	Index int32  // the caller's
	Found bool   // set by Confirm where the run holds the key, never cleared
}

// A Lookup is scratch for Confirm, for one goroutine at a time. The zero value
// is ready; keep it, so that confirming allocates nothing of ours.
type Lookup struct {
	run    *Run
	qs     []Query
	at     int  // the query under way
	value  int  // the value under way
	inside bool // viewValue runs, so Badger holds nothing that a panic would leave locked
	fn     func([]byte) error
}

// Confirm looks for the keys of qs, in ascending order of Order, and sets Found
// where the run holds the key; queries that are Found already are skipped. Each
// block that is looked into is checked against its checksum first: damage is a
// *dedup.CorruptError, and then the queries from that block on are unanswered.
// After the segment is closed the error is ErrRetired.
//
// Badger allocates 16 bytes each time a value is opened, that is once for all
// queries of the same MiB of the run.
func (r *Run) Confirm(l *Lookup, qs []Query) (err error) {
	if len(qs) == 0 {
		return nil
	}
	if !r.seg.pins.pin() {
		return ErrRetired
	}
	// Values are slices of a mapped file: a page that the disk can't give, or that
	// somebody cut off, is a fault. Here it becomes a panic and so an error.
	fault := debug.SetPanicOnFault(true)
	defer l.leave(r, fault, &err)
	if l.fn == nil {
		l.fn = l.viewValue
	}
	l.run, l.qs, l.at, l.inside = r, qs, 0, false
	for l.at < len(qs) {
		if qs[l.at].Found {
			l.at++
			continue
		}
		b, _ := blockOf(qs[l.at].Order, r.meta.Blocks)
		l.value = r.valueAt(r.index[b])
		if err := r.values[l.value].view(l.fn); err != nil {
			return err
		}
	}
	return nil
}

// Announce has the processor fetch the block that Confirm is going to read for a
// key of this order.
func (r *Run) Announce(order uint64) {
	b, _ := blockOf(order, r.meta.Blocks)
	from, to := r.index[b], r.index[b+1]
	v := r.valueAt(from)
	prefetch.Bytes(r.values[v].address-1, 1) // Badger reads its header there
	prefetch.Bytes(r.values[v].address+uintptr(from-r.starts[v]), int(to-from))
}

// viewValue answers the queries from l.at on that fall into one value.
func (l *Lookup) viewValue(p []byte) error {
	l.inside = true
	r := l.run
	start, end := r.starts[l.value], r.starts[l.value+1]
	if uint32(len(p)) != end-start {
		l.inside = false
		return r.damageIn(uint32(l.value), 0, "%d bytes, %d expected", len(p), end-start)
	}
	fixed := fixedForm(r.meta.Form)
	for ; l.at < len(l.qs); l.at++ {
		q := &l.qs[l.at]
		if q.Found {
			continue
		}
		b, rest := blockOf(q.Order, r.meta.Blocks)
		from, to := r.index[b], r.index[b+1]
		if from < start || from >= end {
			break
		}
		block := p[from-start : to-start]
		records := block[:len(block)-blockSum]
		if checksum(records) != binary.LittleEndian.Uint32(block[len(records):]) && !sabotage.On(sabotage.IgnoreBlockSum) {
			l.inside = false
			return r.damageAt(b, "wrong checksum")
		}
		if fixed {
			q.Found = r.layout.find(records, b, rest, q.Order, q.Lo)
		} else {
			q.Found = findBytes(records, q.Key)
		}
	}
	l.inside = false
	return nil
}

// leave ends Confirm, also when it panicked.
func (l *Lookup) leave(r *Run, fault bool, err *error) {
	if p := recover(); p != nil {
		if !l.inside {
			r.seg.store.leaked.Store(true)
		}
		*err = r.damageIn(uint32(l.value), 0, "reading it: %v", p)
	}
	l.run, l.qs = nil, nil
	debug.SetPanicOnFault(fault)
	r.seg.pins.unpin()
}
