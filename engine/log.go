package engine

import (
	"context"
	"errors"

	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/persist/journal"
	"github.com/firstseen/firstseen/shards"
)

// log is the journal as the shards see it.
type log struct{ journal *journal.Journal }

func (l log) Append(r *shards.LogEntry) (start, end uint64, err error) {
	f := journal.Frame{
		Kind:       journal.KindMark,
		Form:       uint8(r.Form),
		Shard:      uint16(r.Shard),
		Count:      uint32(r.Count),
		Generation: r.Generation,
		Time:       r.Now,
		Payload:    r.Payload,
		Alone:      r.Alone,
	}
	if r.Kind == shards.Forget {
		f.Kind = journal.KindForget
	}
	end, err = l.journal.Append(&f)
	return end - uint64(journal.FrameSpace(len(r.Payload))), end, err
}

// entryOf is the inverse: what a replayed frame says.
func entryOf(f *journal.Frame) (r shards.LogEntry, start uint64) {
	r = shards.LogEntry{
		Form:       hash.Form(f.Form),
		Shard:      int(f.Shard),
		Generation: f.Generation,
		Count:      int(f.Count),
		Now:        f.Time,
		Payload:    f.Payload,
	}
	switch f.Kind {
	case journal.KindMark:
	case journal.KindForget:
		r.Kind = shards.Forget
	default:
		r.Kind = shards.NoKind
	}
	return r, f.End - uint64(journal.FrameSpace(len(f.Payload)))
}

// frameSpace is the most room in the journal that marking keys can take: every key, and a
// header for each frame that can come of them. fixed says that all keys have fixed forms.
func (e *Engine) frameSpace(keys [][]byte, fixed bool) int {
	n := fixedSpace * len(keys)
	for i := 0; i < len(keys) && !fixed; i++ {
		n += recordSpace(len(keys[i])) - fixedSpace
	}
	if len(keys) == 1 {
		return journal.FrameSpace(n) // mostly exact, so nothing is given back
	}
	return n + e.headerSpace(len(keys))
}

// fixedSpace is what a key of a fixed form takes in a frame.
const fixedSpace = 16

func recordSpace(keyLen int) int { return max(fixedSpace, min(keyLen, hash.MaxBytes)+1) }

// headerSpace is the most that frames' headers take: each shard may log a frame per form in
// the first look and in the second, and no frame is without a key.
func (e *Engine) headerSpace(keys int) int {
	return min(keys, 2*e.opts.Shards*hash.Forms) * journal.FrameSpace(1)
}

// claimSpace is frameSpace for claims. Their keys are not at hand before their shards are
// locked, so each counts as the longest.
func (e *Engine) claimSpace(claims int) int {
	return claims*(hash.MaxBytes+1) + e.headerSpace(claims)
}

// canceled is a context that has ended: with it Reserve succeeds at once or not at all.
var canceled = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// reserve sets room in the journal aside. If there is none it wakes the maintenance, which
// makes some (relieveJournal), and waits. The wait ends with ctx or when the engine begins to
// refuse marks. It is not told of the latter and looks every refusalCheck. No lock may be held
// that a flush needs (I8).
func (e *Engine) reserve(ctx context.Context, space int) error {
	err := e.journal.Reserve(canceled, space)
	if err == nil || !errors.Is(err, context.Canceled) {
		return err
	}
	e.counts.roomWaits.Add(1)
	for {
		e.roomWanted.Store(true)
		e.maintainer.wake()
		slice, cancel := context.WithTimeout(ctx, refusalCheck)
		err := e.journal.Reserve(slice, space)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		if err := e.refused(true); err != nil {
			return err
		}
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
