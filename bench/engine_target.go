package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
)

// EngineCandidates lists the engine in each mode, strongest promise first.
func EngineCandidates() []Candidate {
	exact := func(name, about string, class Durability, o engine.Options) Candidate {
		return Candidate{
			Name: name, About: about, Class: class, Expires: true, Embedded: true, Journal: "journal*",
			Modules: []string{"github.com/dgraph-io/badger/v4", "github.com/bits-and-blooms/bloom/v3"},
			Open: func(_ context.Context, s Setup) (Target, error) {
				return openEngine(s, o)
			},
		}
	}
	claiming := func(name string, class Durability, sync engine.Sync) Candidate {
		c := exact(name, "engine, exact, keys are claimed and committed; some claims are released, some leases end, and are claimed again", class, engine.Options{})
		c.Open = func(_ context.Context, s Setup) (Target, error) {
			t, err := openEngine(s, engine.Options{Sync: sync})
			if err != nil {
				return nil, err
			}
			return &claimTarget{engineTarget: t}, nil
		}
		return c
	}
	approximate := func(name, about string, o engine.Options) Candidate {
		o.Mode, o.Sync = engine.Approximate, engine.SyncInterval
		c := exact(name, about, Kill, o)
		c.Approximate = true
		return c
	}
	return []Candidate{
		exact("firstseen-always", "engine, exact, every answer waits for the disk", Power,
			engine.Options{Sync: engine.SyncAlways}),
		exact("firstseen-interval", "engine, exact, journal written before the answer, synced every 100 ms", Kill,
			engine.Options{Sync: engine.SyncInterval}),
		exact("firstseen-none", "engine, exact, journal written before the answer, never synced on purpose", Kill,
			engine.Options{Sync: engine.SyncNone}),
		claiming("firstseen-claim-always", Power, engine.SyncAlways),
		claiming("firstseen-claim-interval", Kill, engine.SyncInterval),
		exact("firstseen-compact", "engine, exact, small filter on bits-and-blooms, synced every 100 ms", Kill,
			engine.Options{Sync: engine.SyncInterval, Filter: bloom.Compact}),
		exact("firstseen-untrusted", "engine, exact, keyed hash for keys of strangers, synced every 100 ms", Kill,
			engine.Options{Sync: engine.SyncInterval, UntrustedKeys: true}),
		approximate("firstseen-approximate", "engine without a store, fast filter", engine.Options{}),
		approximate("firstseen-approximate-compact", "engine without a store, small filter", engine.Options{Filter: bloom.Compact}),
	}
}

// HintCandidates lists the engine as firstseen-interval, told other numbers of keys than
// come: what a wrong hint costs, and none.
func HintCandidates() []Candidate {
	hint := func(name, about string, change func(s *Setup)) Candidate {
		c := EngineCandidates()[1]
		c.Name, c.About = name, "as firstseen-interval, "+about
		c.Open = func(_ context.Context, s Setup) (Target, error) {
			change(&s)
			return openEngine(s, engine.Options{Sync: engine.SyncInterval})
		}
		return c
	}
	return []Candidate{
		hint("firstseen-unhinted", "with Options.Window alone", func(s *Setup) { s.Keys, s.KeyBytes = 0, 0 }),
		hint("firstseen-hint-tenth", "told a tenth of the keys", func(s *Setup) { s.Keys /= 10 }),
		hint("firstseen-hint-tenfold", "told ten times the keys", func(s *Setup) { s.Keys *= 10 }),
	}
}

// engineTarget drives an engine.Engine.
type engineTarget struct {
	e *engine.Engine
}

func openEngine(s Setup, o engine.Options) (*engineTarget, error) {
	o.Window, o.Capacity, o.KeyBytes, o.Now = s.Window, s.Keys, s.KeyBytes, s.Now
	e, err := engine.Open(s.Dir, o)
	if err != nil {
		return nil, err
	}
	return &engineTarget{e}, nil
}

// Admit uses the call for one key where there is one key.
func (t *engineTarget) Admit(ctx context.Context, vs []dedup.Verdict, keys [][]byte) ([]dedup.Verdict, error) {
	if len(keys) == 1 {
		v, err := t.e.Admit(ctx, keys[0])
		if err != nil {
			return vs, fmt.Errorf("engine: %w", err)
		}
		return append(vs, v), nil
	}
	return t.e.AdmitBatch(ctx, vs, keys)
}

// Settle waits for the flush under way.
func (t *engineTarget) Settle() {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n := 0; n < 500 && t.e.Stats().Flush.PendingTables > 0; n++ {
		<-tick.C
	}
}

func (t *engineTarget) Usage() Usage {
	s := t.e.Stats()
	return Usage{
		Memory:    s.Filter.Bytes,
		Unflushed: s.Flush.UnflushedKeys,
		Flushes:   s.Flush.Flushes,
		Rotations: s.Flush.Rotations,
		Confirms:  s.Lookups.Confirmed + s.Lookups.FalsePositive,
		Needless:  s.Lookups.FalsePositive,
	}
}

func (t *engineTarget) Close() error { return t.e.Close() }
