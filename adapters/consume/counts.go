package consume

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/firstseen/firstseen/dedup"
)

// Counts are the counters of one scope since New. Every message of a call is
// counted once by what the guard said and once by what was decided.
type Counts struct {
	Scope Scope `json:"scope"`

	// What the guard said.
	Fresh     uint64 `json:"fresh"`
	Duplicate uint64 `json:"duplicate"` // twins in a batch whose first was handled are among them
	InFlight  uint64 `json:"in_flight"`
	Unknown   uint64 `json:"unknown"`   // errors of the guard are among them
	NotAsked  uint64 `json:"not_asked"` // no key, behind, closed, Off
	Unguarded uint64 `json:"unguarded"` // of Fresh: let through by a policy

	// What was decided.
	Acked    uint64 `json:"acked"`
	Retried  uint64 `json:"retried"`
	Rejected uint64 `json:"rejected"`

	// What happened on the way.
	NoKey     uint64 `json:"no_key"`
	Failed    uint64 `json:"failed"` // handlers that returned an error
	Panicked  uint64 `json:"panicked"`
	LeaseLost uint64 `json:"lease_lost"` // handled, and another one held the key by then
	NotMarked uint64 `json:"not_marked"` // handled, and the commit failed
	LateMarks uint64 `json:"late_marks"` // claims that were lost and whose keys are marked all the same
	StoreDown uint64 `json:"store_down"`
	Waited    uint64 `json:"waited"` // messages that waited in place
}

// counters are the Counts of a scope while they grow.
type counters struct {
	verdict                                                                       [4]atomic.Uint64
	action                                                                        [3]atomic.Uint64
	notAsked, unguarded, noKey, failed, panicked, leaseLost, notMarked, storeDown atomic.Uint64
	lateMarks, waited                                                             atomic.Uint64
}

// counts has the counters of all scopes that came along.
type counts struct{ scopes sync.Map } // Scope → *counters

func (c *counts) of(s Scope) *counters {
	if n, ok := c.scopes.Load(s); ok {
		return n.(*counters)
	}
	n, _ := c.scopes.LoadOrStore(s, new(counters))
	return n.(*counters)
}

// Snapshot returns the counters of every scope, ordered by scope. Each counter is
// exact; they are read one after the other while calls go on.
func (c *Consumer) Snapshot() []Counts {
	var all []Counts
	c.counts.scopes.Range(func(s, n any) bool {
		all = append(all, n.(*counters).snapshot(s.(Scope)))
		return true
	})
	slices.SortFunc(all, func(a, b Counts) int {
		return cmp.Or(cmp.Compare(a.Scope.Application, b.Scope.Application), cmp.Compare(a.Scope.Topic, b.Scope.Topic),
			cmp.Compare(a.Scope.Tag, b.Scope.Tag), cmp.Compare(a.Scope.Instance, b.Scope.Instance))
	})
	return all
}

func (n *counters) snapshot(s Scope) Counts {
	return Counts{
		Scope: s,
		Fresh: n.verdict[dedup.Fresh].Load(), Duplicate: n.verdict[dedup.Duplicate].Load(),
		InFlight: n.verdict[dedup.InFlight].Load(), Unknown: n.verdict[dedup.Unknown].Load(),
		NotAsked: n.notAsked.Load(), Unguarded: n.unguarded.Load(),
		Acked: n.action[Ack].Load(), Retried: n.action[Retry].Load(), Rejected: n.action[Reject].Load(),
		NoKey: n.noKey.Load(), Failed: n.failed.Load(), Panicked: n.panicked.Load(), LeaseLost: n.leaseLost.Load(),
		NotMarked: n.notMarked.Load(), LateMarks: n.lateMarks.Load(), StoreDown: n.storeDown.Load(), Waited: n.waited.Load(),
	}
}

// count adds the round's decisions.
func (r *round) count() {
	var n *counters
	for i := range r.ds {
		d, it := &r.ds[i], &r.items[i]
		if n == nil || it.scope != r.items[i-1].scope {
			n = r.c.counts.of(it.scope)
		}
		if it.claim < 0 {
			n.notAsked.Add(1)
		} else {
			n.verdict[d.Verdict].Add(1)
		}
		n.action[d.Action].Add(1)
		if d.Unguarded {
			n.unguarded.Add(1)
		}
		if it.noKey {
			n.noKey.Add(1)
		}
		switch d.Reason {
		case Failed:
			n.failed.Add(1)
		case Panicked:
			n.panicked.Add(1)
		case LeaseLost:
			n.leaseLost.Add(1)
		case NotMarked:
			n.notMarked.Add(1)
		case StoreDown:
			n.storeDown.Add(1)
		default:
		}
	}
}
