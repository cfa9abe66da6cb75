package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/persist/journal"
)

// keeping is the scratch of a commit with results.
type keeping struct {
	plain, held     []dedup.Claim // claims without and with a result
	plainAt, heldAt []int         // where they stand in the part of the call
	lost            []bool        // of the step at hand, beside plain or held
	// records are those of held, from pin on one for each and in the same order.
	records []persist.ResultRecord
}

// reset lets go of the callers' keys and results, which the scratch would keep alive in the pool.
func (k *keeping) reset() {
	clear(k.plain)
	clear(k.held)
	clear(k.records)
	k.plain, k.held, k.records = k.plain[:0], k.held[:0], k.records[:0]
	k.plainAt, k.heldAt = k.plainAt[:0], k.heldAt[:0]
}

// hasResults reports whether a claim of a commit brings a result.
func hasResults(cs []dedup.Claim) bool {
	for i := range cs {
		if len(cs[i].Result) > 0 {
			return true
		}
	}
	return false
}

// commitResults is commitPart for claims of which some bring results. Without a store results
// are not kept, but the keys are marked. Nor are they kept with Refresh, where a mark outlives
// the generation in which its result would lie.
func (c *call) commitResults(ctx context.Context, cs []dedup.Claim, lost []bool) error {
	if c.e.opts.Mode == Approximate || c.e.opts.Refresh {
		return c.commitPart(ctx, cs, lost)
	}
	if c.keep == nil {
		c.keep = new(keeping)
	}
	k := c.keep
	defer k.reset()
	for i := range cs {
		switch {
		case cs[i].Verdict != dedup.Fresh:
		case len(cs[i].Result) == 0:
			k.plain, k.plainAt = append(k.plain, cs[i]), append(k.plainAt, i)
		default:
			k.held, k.heldAt = append(k.held, cs[i]), append(k.heldAt, i)
		}
	}
	// The held ones first: a claim that comes twice must not lose its result.
	err := c.commitHeld(ctx, k, lost)
	if err == nil && len(k.plain) > 0 {
		k.lost = append(k.lost[:0], make([]bool, len(k.plain))...)
		err = c.commitPart(ctx, k.plain, k.lost)
		for i, l := range k.lost {
			lost[k.plainAt[i]] = l
		}
	}
	return err
}

// commitHeld commits the claims that bring results. Its order makes a crash harmless, and a
// claim that was lost unable to do harm:
//
//  1. The claims are pinned: nobody else can come to hold their keys. A claim whose lease has
//     ended and whose key somebody else holds fails here, and its result is never written.
//  2. The results are written, as durable as Sync says. After a crash they are orphans: their
//     keys are not marked.
//  3. The journal promises them.
//  4. The keys are marked and the claims end. So there is no mark without its result.
//
// Whatever fails unpins the claims.
func (c *call) commitHeld(ctx context.Context, k *keeping, lost []bool) error {
	space := c.e.claimSpace(len(k.held)) + journal.ResultsSpace()
	if err := c.e.reserve(ctx, space); err != nil {
		return err
	}
	c.batch.Logged = 0
	defer func() { c.e.journal.Unreserve(space - c.batch.Logged) }()
	c.pin(k, lost)
	// Once, but for rotations: each round marks the claims whose shards are still in the generation
	// that the results went to.
	for len(k.held) > 0 {
		d, seq, err := c.e.results.write(k.records)
		if err == nil {
			err = c.promiseResults(d, seq, k.records)
		}
		if err != nil {
			c.e.set.Unpin(k.held)
			return err
		}
		c.e.phase("result")()
		if err := c.markHeld(ctx, k, d, seq); err != nil {
			return err
		}
		if len(k.held) == 0 {
			break
		}
		// A generation has begun since step 2. Nobody would look for the results in the one
		// before, so they are written again; what was written goes with its directory.
		if err := ctx.Err(); err != nil {
			c.e.set.Unpin(k.held)
			return context.Cause(ctx)
		}
		// The frames of the round before have used up room, and no more than was set aside may be
		// appended.
		more := c.e.claimSpace(len(k.held)) + journal.ResultsSpace()
		if err := c.e.reserve(ctx, more); err != nil {
			c.e.set.Unpin(k.held)
			return err
		}
		space += more
	}
	return nil
}

// promiseResults is step 3 of commitHeld, in the room that it has reserved.
func (c *call) promiseResults(d *resultDir, seq uint64, records []persist.ResultRecord) error {
	if err := c.e.results.promise(d, seq, records, c.now); err != nil {
		return err
	}
	c.batch.Logged += journal.ResultsSpace()
	return nil
}

// pin pins the held claims, notes which are lost, and makes the records of the others.
func (c *call) pin(k *keeping, lost []bool) {
	k.lost = append(k.lost[:0], make([]bool, len(k.held))...)
	k.records = append(k.records, make([]persist.ResultRecord, len(k.held))...)
	c.e.set.Pin(&c.batch, k.held, k.lost, func(i int, form hash.Form, hi, lo uint64, record []byte) {
		rec := &k.records[i]
		rec.Key = resultKey(nil, form, hi, lo, record)
		if rec.Kind, rec.Data = persist.ResultKept, k.held[i].Result; len(rec.Data) > c.e.opts.MaxResult {
			rec.Kind, rec.Data = persist.ResultTooLarge, nil
		}
	})
	c.e.counts.add(&c.batch.Counts)
	for i, l := range k.lost {
		if l {
			lost[k.heldAt[i]] = true
		}
	}
	k.drop(k.lost)
	for i := range k.records {
		if k.records[i].Kind == persist.ResultTooLarge {
			c.e.results.counts.tooLarge.Add(1)
		} else {
			c.e.results.counts.kept.Add(1)
		}
	}
}

// drop takes the claims with gone[i] out of held, with their places and records.
func (k *keeping) drop(gone []bool) {
	n := 0
	for i := range k.held {
		if gone[i] {
			continue
		}
		k.held[n], k.heldAt[n], k.records[n] = k.held[i], k.heldAt[i], k.records[i]
		n++
	}
	k.held, k.heldAt, k.records = k.held[:n], k.heldAt[:n], k.records[:n]
}

// markHeld marks the held claims' keys, takes those claims out of held and settles the call.
// After an error it takes back the results of the others and unpins them.
func (c *call) markHeld(ctx context.Context, k *keeping, d *resultDir, seq uint64) error {
	k.lost = append(k.lost[:0], make([]bool, len(k.held))...)
	err := c.e.set.CommitPinned(ctx, &c.batch, k.held, c.now, d.generation, k.lost)
	c.wait = max(c.wait, c.batch.WaitPos)
	c.batch.Counts.Fresh = 0 // they were counted when they were claimed
	c.e.counts.add(&c.batch.Counts)
	k.drop(k.lost)
	if err == nil {
		// Records of claims that are left are of no use here, but should a crash take the
		// beginning of the new generation, they are orphans in this one.
		if len(k.held) == 0 {
			d.settle(seq)
		}
		return nil
	}
	// The keys of these claims are not marked, and their claims go on. A result left behind would be
	// the answer of whoever commits the key next, without one.
	if !errors.Is(err, dedup.ErrFailed) { // else nothing is known any more, and nobody will ask
		err = errors.Join(err, c.e.results.takeBack(d, seq, k.records))
	}
	c.e.set.Unpin(k.held)
	return err
}

// resultError names the claims of a commit whose results were not kept; lost ones have changed nothing.
func (c *call) resultError(cs []dedup.Claim) error {
	most := c.e.opts.MaxResult
	if c.e.opts.Mode == Approximate {
		most = 0
	}
	var errs []error
	for i := range cs {
		if n := len(cs[i].Result); n > most && cs[i].Verdict == dedup.Fresh && !c.lost[i] {
			errs = append(errs, &dedup.ResultError{Index: i, Err: dedup.ErrResultTooLarge})
		}
	}
	if errs == nil {
		return nil
	}
	return fmt.Errorf("engine: commit: MaxResult is %d: %w", most, errors.Join(errs...))
}

// giveResults puts the results of duplicates into claims, one for each key of the batch. The
// first of them is the call's key number base. It reads from disk, so no shard is locked (I8), and
// a duplicate's mark tells its generation, so one directory is asked. The batch must not have been
// routed anew since it was decided.
func (c *call) giveResults(cs []dedup.Claim, base int) {
	c.e.set.EachDuplicate(&c.batch, func(i int, form hash.Form, hi, lo uint64, record []byte, generation uint64) {
		c.resultKey = resultKey(c.resultKey[:0], form, hi, lo, record)
		result, err := c.e.results.find(generation, c.resultKey)
		if err != nil {
			c.resultErrs = append(c.resultErrs, &dedup.ResultError{Index: base + i, Err: err})
		}
		cs[i].Result = result
	})
}

// A forgetting is a Forget whose key may have a result.
type forgetting struct {
	key  []byte       // see resultKey
	dirs []*resultDir // those that had a result of it
	seqs []uint64     // of the records that say ResultForgotten, beside dirs
}

// beginForget notes that the results of the batch's key are being forgotten. From here on a
// claim that finds the key marked gets ErrResultLost: after a crash nobody knows whether the
// mark was taken back, and no old result may come with a new mark. If somebody holds the key it
// is not marked, and its results belong to a commit under way; they are left alone.
func (c *call) beginForget() (f forgetting, err error) {
	r := &c.e.results
	if len(r.list()) == 0 {
		return f, nil
	}
	form, hi, lo, record := c.e.set.Stored(&c.batch)
	f.key = resultKey(nil, form, hi, lo, record)
	r.lead.Lock()
	defer r.lead.Unlock()
	// With lead held: a commit whose claim comes after this look writes its result after this
	// call's records, and the newest record counts.
	if c.e.set.Claimed(&c.batch) {
		return forgetting{}, nil
	}
	for _, d := range r.list() {
		if d.store == nil {
			continue
		}
		rec, _, ok, err := d.store.Get(f.key, nil)
		if err == nil && (!ok || rec.Kind == persist.ResultNone) || errors.Is(err, persist.ErrRetired) {
			continue
		}
		p := &resultPut{records: []persist.ResultRecord{{Key: f.key, Kind: persist.ResultForgotten}}}
		if err = r.putLocked(d, []*resultPut{p}); err == nil {
			f.dirs, f.seqs = append(f.dirs, d), append(f.seqs, p.seq)
			err = r.syncDir(d)
		}
		if err != nil && !errors.Is(err, persist.ErrRetired) {
			r.failed(err)
			return f, err
		}
	}
	return f, nil
}

// endForget is called when the mark is gone for good: what was forgotten counts no more. It need not be
// durable, since a claim that finds the older record gets ErrResultLost.
func (c *call) endForget(f forgetting) error {
	r := &c.e.results
	if len(f.dirs) == 0 {
		return nil
	}
	r.lead.Lock()
	defer r.lead.Unlock()
	for i, d := range f.dirs {
		// A commit may have come since. Its record is newer, and goes with a mark that stands.
		_, seq, ok, err := d.store.Get(f.key, nil)
		if err == nil && ok && seq == f.seqs[i] {
			p := &resultPut{records: []persist.ResultRecord{{Key: f.key, Kind: persist.ResultNone}}}
			if err = r.putLocked(d, []*resultPut{p}); err == nil {
				d.settle(p.seq)
			}
		}
		d.settle(f.seqs[i])
		if err != nil && !errors.Is(err, persist.ErrRetired) {
			r.failed(err)
			return err
		}
	}
	return nil
}
