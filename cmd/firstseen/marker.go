package main

import (
	"context"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
)

// A marker answers for the keys of one batch and remembers them when it is written.
type marker interface {
	// decide appends a verdict for each key: Fresh for what is to be written.
	decide(ctx context.Context, vs []dedup.Verdict, keys [][]byte) ([]dedup.Verdict, error)
	// commit remembers the keys that were fresh.
	commit(ctx context.Context) error
	// wrongRate is the share of new keys that are taken for duplicates now.
	wrongRate() float64
	// release forgets that they were asked for.
	release(ctx context.Context) error
}

// A claimer is what claims need of an engine; tests put failures behind it.
type claimer interface {
	ClaimBatch(ctx context.Context, cs []dedup.Claim, keys [][]byte) ([]dedup.Claim, error)
	Commit(ctx context.Context, cs ...dedup.Claim) error
	Release(ctx context.Context, cs ...dedup.Claim) error
	Stats() engine.Stats
}

// claiming marks keys when their batch is written.
type claiming struct {
	claimer
	claims []dedup.Claim
}

func (c *claiming) decide(ctx context.Context, vs []dedup.Verdict, keys [][]byte) (_ []dedup.Verdict, err error) {
	c.claims, err = c.ClaimBatch(ctx, c.claims[:0], keys)
	for i := range c.claims {
		vs = append(vs, c.claims[i].Verdict)
	}
	return vs, err
}

func (c *claiming) commit(ctx context.Context) error  { return c.Commit(ctx, c.claims...) }
func (c *claiming) wrongRate() float64                { return c.Stats().Filter.PredictedRate }
func (c *claiming) release(ctx context.Context) error { return c.Release(ctx, c.claims...) }

// An admitter is what admitting needs of an engine.
type admitter interface {
	AdmitBatch(ctx context.Context, vs []dedup.Verdict, keys [][]byte) ([]dedup.Verdict, error)
	Stats() engine.Stats
}

// admitting marks keys on sight, for half the work: where no run comes after this one,
// a batch that is not written matters to nobody.
type admitting struct{ admitter }

func (a admitting) decide(ctx context.Context, vs []dedup.Verdict, keys [][]byte) ([]dedup.Verdict, error) {
	return a.AdmitBatch(ctx, vs, keys)
}
func (admitting) commit(context.Context) error  { return nil }
func (a admitting) wrongRate() float64          { return a.Stats().Filter.PredictedRate }
func (admitting) release(context.Context) error { return nil }
