package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist/journal"
	"github.com/firstseen/firstseen/shards"
)

// A call is the scratch of one call of the public interface, from a pool: it belongs to the
// call's goroutine between begin and end.
type call struct {
	e     *Engine
	now   int64 // engine time at which the call began: the time of its marks
	batch shards.Batch
	lost  []bool
	calls int // counts the calls that used this scratch: of small ones every 16th is timed

	claims     []dedup.Claim // where a step of a claim answers
	out        []dedup.Verdict
	marked     []uint64 // see shards.Batch.Marked
	keep       *keeping
	resultKey  []byte
	resultErrs []error

	key     [1][]byte // of a call with one key
	verdict [1]dedup.Verdict
	claimed [1]dedup.Claim

	wait journal.Pos // the journal's position that the answers rest on, 0: on none; see settle
}

func (c *call) reset() {
	c.wait, c.key[0] = 0, nil
	if c.claims != nil {
		c.claims, c.batch.Marked = nil, nil
	}
	if c.resultErrs != nil {
		c.resultErrs = nil
	}
}

// step runs do on at most shards.MaxPiece valid keys and collects what to wait for. The room in
// the journal is reserved first, before any shard is locked, so that who waits for room keeps
// nobody else waiting (I8). What do has not used is given back.
func (c *call) step(ctx context.Context, keys [][]byte, do func(*call, context.Context) error) error {
	if len(keys) > fewKeys {
		c.e.beginTurn()
		defer c.e.endTurn()
	}
	c.e.set.Route(&c.batch, keys)
	space := c.e.frameSpace(keys, c.batch.Fixed())
	if err := c.e.reserve(ctx, space); err != nil {
		return err
	}
	c.batch.Logged = 0
	err := do(c, ctx)
	c.e.journal.Unreserve(space - c.batch.Logged)
	c.wait = max(c.wait, c.batch.WaitPos)
	c.e.counts.add(&c.batch.Counts)
	return err
}

// fewKeys is the largest number of keys of a small call. Those do not take turns, since the
// scheduler seldom takes the processor away within one, and most are not timed, since reading
// the clock is a good part of one.
const fewKeys = 16

// beginTurn yields if another call with many keys is at work. Left alone the scheduler lets
// one caller make a hundred calls in its slice of 10 ms and takes the processor away in the
// middle of the last one, which then waits for the slices of all others: with eight callers
// p99 was 22 to 24 ms instead of 5 (docs/decisions/002).
func (e *Engine) beginTurn() {
	if e.batches.Add(1) > 1 {
		runtime.Gosched()
	}
}

func (e *Engine) endTurn() { e.batches.Add(-1) }

func doAdmit(c *call, ctx context.Context) error { return c.e.set.Admit(ctx, &c.batch, c.now) }
func doLook(c *call, ctx context.Context) error  { return c.e.set.Look(ctx, &c.batch, c.now) }

// answer fills out, which is all Unknown: do is doAdmit or doLook.
func (c *call) answer(ctx context.Context, keys [][]byte, out []dedup.Verdict, do func(*call, context.Context) error) error {
	if !valid(keys) {
		return c.answerSome(ctx, keys, out, do)
	}
	var err error
	for done := 0; done < len(keys) && err == nil; {
		n := min(shards.MaxPiece, len(keys)-done)
		c.batch.Out = out[done : done+n]
		err = c.step(ctx, keys[done:done+n], do)
		done += n
	}
	return c.settle(out, err)
}

// admitOne is answer for the one key in c.key, whose verdict goes to c.verdict.
func (c *call) admitOne(ctx context.Context) error {
	keys, out := c.key[:], c.verdict[:]
	if !valid(keys) {
		return c.answerSome(ctx, keys, out, doAdmit)
	}
	c.batch.Out = out
	return c.settle(out, c.step(ctx, keys, doAdmit))
}

// settle ends a call whose verdicts are in out, if it has any. It waits until the journal is as
// durable as Sync says, up to the position that the answers rest on (I1). No shard is locked
// meanwhile, and the waits of many calls share one sync. After a failed write no verdict holds.
func (c *call) settle(out []dedup.Verdict, err error) error {
	if c.wait > 0 {
		if werr := c.e.journal.Wait(c.wait); werr != nil {
			err = werr
		}
	}
	if err != nil && errors.Is(err, dedup.ErrFailed) {
		clear(out)
	}
	return err
}

// answerSome is answer for a call with invalid keys: the valid ones go alone and
// their verdicts are put where they belong.
func (c *call) answerSome(ctx context.Context, keys [][]byte, out []dedup.Verdict, do func(*call, context.Context) error) error {
	good, at, bad := c.pick(keys)
	vs := make([]dedup.Verdict, len(good))
	err := c.answer(ctx, good, vs, do)
	for i, v := range vs {
		out[at[i]] = v
	}
	return errors.Join(bad, err)
}

// pick returns the valid keys with their places, and one *dedup.KeyError for
// each other.
func (c *call) pick(keys [][]byte) (good [][]byte, at []int, bad error) {
	var errs []error
	for i, key := range keys {
		if !valid(keys[i : i+1]) {
			errs = append(errs, &dedup.KeyError{Index: i, Len: len(key)})
			continue
		}
		good, at = append(good, key), append(at, i)
	}
	c.e.counts.invalid.Add(uint64(len(errs)))
	return good, at, errors.Join(errs...)
}

func valid(keys [][]byte) bool {
	for _, key := range keys {
		if uint(len(key)-1) >= dedup.MaxKeyLen {
			return false
		}
	}
	return true
}

func (c *call) look(ctx context.Context, keys [][]byte, out []dedup.Verdict) error {
	err := c.answer(ctx, keys, out, doLook)
	if err == nil && out[0] == dedup.Unknown {
		err = fmt.Errorf("engine: contains: the key may have been marked in a lost part of the window: %w", dedup.ErrCorrupt)
	}
	return err
}

func (c *call) forget(ctx context.Context, key []byte) error {
	keys := [][]byte{key}
	if !valid(keys) {
		_, _, bad := c.pick(keys)
		return bad
	}
	var results forgetting
	err := c.step(ctx, keys, func(c *call, _ context.Context) (err error) {
		if results, err = c.beginForget(); err != nil {
			return err
		}
		return c.e.set.Forget(&c.batch, c.now)
	})
	if err = c.settle(nil, err); err == nil {
		err = c.endForget(results)
	}
	return err
}

func doClaim(c *call, ctx context.Context) error {
	ahead := c.e.clock.wallOf(c.now).Sub(time.Unix(0, c.now))
	return c.e.set.Claim(ctx, &c.batch, c.now, int64(c.e.opts.Lease), ahead, c.claims)
}

// claim fills cs, in which nothing but the keys is set.
func (c *call) claim(ctx context.Context, keys [][]byte, cs []dedup.Claim) error {
	if !valid(keys) {
		return c.claimSome(ctx, keys, cs)
	}
	c.out = appendUnknown(c.out[:0], len(keys))
	var err error
	for done := 0; done < len(keys) && err == nil; {
		n := min(shards.MaxPiece, len(keys)-done)
		c.batch.Out, c.claims = c.out[done:done+n], cs[done:done+n]
		c.marked = append(c.marked[:0], make([]uint64, n)...)
		c.batch.Marked = c.marked
		// A duplicate's result is there, and so is its directory: also where it is the first one, and was
		// committed while this call waited for a lock.
		if err = c.step(ctx, keys[done:done+n], doClaim); err == nil && len(c.e.results.list()) > 0 {
			c.giveResults(c.claims, done)
		}
		done += n
	}
	if err = c.settle(c.out, err); err != nil && errors.Is(err, dedup.ErrFailed) {
		for i := range cs {
			cs[i] = dedup.Claim{Key: cs[i].Key}
		}
	}
	if c.resultErrs != nil && err == nil {
		err = fmt.Errorf("engine: claim: %w", errors.Join(c.resultErrs...))
	}
	return err
}

// claimSome is claim for a call with invalid keys.
func (c *call) claimSome(ctx context.Context, keys [][]byte, cs []dedup.Claim) error {
	good, at, bad := c.pick(keys)
	part := make([]dedup.Claim, len(good))
	err := c.claim(ctx, good, part)
	for i := range part {
		part[i].Key = keys[at[i]]
		cs[at[i]] = part[i]
	}
	for _, e := range c.resultErrs {
		if re, ok := errors.AsType[*dedup.ResultError](e); ok {
			re.Index = at[re.Index]
		}
	}
	return errors.Join(bad, err)
}

func (c *call) commit(ctx context.Context, cs []dedup.Claim) error {
	c.lost = append(c.lost[:0], make([]bool, len(cs))...)
	var err error
	results := false
	for done := 0; done < len(cs) && err == nil; {
		n := min(shards.MaxPiece, len(cs)-done)
		part, mine := cs[done:done+n], c.lost[done:done+n]
		if hasResults(part) {
			results = true
			err = c.commitResults(ctx, part, mine)
		} else {
			err = c.commitPart(ctx, part, mine)
		}
		done += n
	}
	if err = c.settle(nil, err); errors.Is(err, dedup.ErrFailed) {
		return err
	}
	if results && err == nil {
		err = c.resultError(cs)
	}
	return errors.Join(err, c.lostError("commit"))
}

func (c *call) commitPart(ctx context.Context, cs []dedup.Claim, lost []bool) error {
	if len(cs) > fewKeys {
		c.e.beginTurn()
		defer c.e.endTurn()
	}
	space := c.e.claimSpace(len(cs))
	if err := c.e.reserve(ctx, space); err != nil {
		return err
	}
	c.batch.Logged = 0
	err := c.e.set.Commit(ctx, &c.batch, cs, c.now, lost)
	c.e.journal.Unreserve(space - c.batch.Logged)
	c.wait = max(c.wait, c.batch.WaitPos)
	c.batch.Counts.Fresh = 0 // they were counted when they were claimed
	c.e.counts.add(&c.batch.Counts)
	return err
}

func (c *call) release(cs []dedup.Claim) error {
	c.lost = append(c.lost[:0], make([]bool, len(cs))...)
	for done := 0; done < len(cs); {
		n := min(shards.MaxPiece, len(cs)-done)
		c.e.set.Release(&c.batch, cs[done:done+n], c.lost[done:done+n])
		c.e.counts.add(&c.batch.Counts)
		done += n
	}
	return c.lostError("release")
}

// lostError names the claims in c.lost.
func (c *call) lostError(doing string) error {
	var lost []error
	for i, l := range c.lost {
		if l {
			lost = append(lost, &dedup.LeaseError{Index: i})
		}
	}
	if lost == nil {
		return nil
	}
	return fmt.Errorf("engine: %s: %w", doing, errors.Join(lost...))
}
