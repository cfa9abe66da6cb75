package journal_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/faultfs"
	"github.com/firstseen/firstseen/internal/vfs"
	"github.com/firstseen/firstseen/persist/journal"
	"go.uber.org/goleak"
)

var errBoom = errors.New("boom")

// history is what a run on a failing disk knows of its frames.
type history struct {
	frames []journal.Frame // appended, in order
	acked  int             // of them acknowledged as durable
	// Replay starts at tail; the first frame from there is frames[first].
	tail  journal.Pos
	first int
	err   error // the first error of any call
	grows bool  // the ring is made larger on the way
}

// run appends to a journal in f until an operation fails or the work is done:
// several rounds, of which some end in a clean close and some in a kill.
func (h *history) run(t *testing.T, f vfs.FS, mode journal.SyncMode) {
	rng := rand.New(rand.NewPCG(9, 10))
	for round := range 5 {
		j, err := journal.Open(h.config(f, mode))
		if err != nil {
			h.err = err
			return
		}
		if h.err = h.round(t, j, rng); h.err == nil {
			h.err = j.Close(round%2 == 0)
		} else {
			_ = j.Close(false)
		}
		if h.err != nil {
			return
		}
		// A clean close syncs, and so does the next Replay after a kill; the
		// latter must still happen.
		if round%2 == 0 {
			h.acked = len(h.frames)
		}
	}
}

func crashConfig(f vfs.FS, mode journal.SyncMode) journal.Config {
	// Four pages, which a power cut keeps or loses each on its own.
	return journal.Config{FS: f, Path: "journal", RingBytes: 16384, Sync: mode, Interval: 1 << 40}.WithBoot(1)
}

func (h *history) config(f vfs.FS, mode journal.SyncMode) journal.Config {
	c := crashConfig(f, mode)
	if h.grows {
		c.MaxRing = 1 << 20
	}
	return c
}

func (h *history) round(t *testing.T, j *journal.Journal, rng *rand.Rand) error {
	got, _, err := replay(j, h.tail)
	if err != nil {
		return err
	}
	if err := sameFrames(h.frames[h.first:], got); err != nil {
		t.Fatal(err)
	}
	h.acked = len(h.frames) // Replay has synced what it gave
	for i := range 8 {
		fr := randomFrame(rng, 1800)
		if err := appendFrame(j, &fr); err != nil {
			return refused(t, j, err)
		}
		h.frames = append(h.frames, fr)
		if h.grows && i == 4 {
			if err := j.Grow(j.State().RingBytes + 8192); err != nil && j.State().Failed {
				return refused(t, j, err)
			}
		}
		if i%3 == 2 {
			if err := j.Wait(fr.End); err != nil {
				return refused(t, j, err)
			}
			if j.State().Durable >= fr.End {
				h.acked = len(h.frames)
			}
		}
		if i == 5 {
			if err := j.Sync(); err != nil {
				return refused(t, j, err)
			}
			h.acked = len(h.frames)
			// As after a flush: what is durable elsewhere is not replayed.
			h.first = len(h.frames) - 2
			h.tail = h.frames[h.first-1].End
			j.Release(h.tail)
		}
	}
	return j.Wait(h.frames[len(h.frames)-1].End)
}

// refused checks I7: after a failure every call is one.
func refused(t *testing.T, j *journal.Journal, err error) error {
	t.Helper()
	fr := journal.Frame{Kind: 1}
	_, aerr := j.Append(&fr)
	for call, err := range map[string]error{"the call": err, "Append": aerr, "Reserve": j.Reserve(t.Context(), 48), "Wait": j.Wait(0), "Sync": j.Sync()} {
		if !errors.Is(err, dedup.ErrFailed) || !errors.Is(err, errBoom) {
			t.Errorf("%s after a failure: %v", call, err)
		}
	}
	if !j.State().Failed {
		t.Error("State does not tell of the failure")
	}
	return err
}

// check reopens what a crash left: all acknowledged frames, and behind them
// others as they were appended, without a gap.
func (h *history) check(t *testing.T, f *faultfs.FS, mode journal.SyncMode, what string) {
	t.Helper()
	if err := vfs.RemoveLeftovers(f, ".", func(string) bool { return true }); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	j, err := journal.Open(h.config(f, mode).WithBoot(2))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer j.Close(false)
	got, _, err := replay(j, h.tail)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if n := h.first + len(got); n < h.acked || n > len(h.frames) {
		t.Fatalf("%s: %d frames are left, %d were acknowledged and %d appended", what, n, h.acked, len(h.frames))
	}
	if err := sameFrames(h.frames[h.first:h.first+len(got)], got); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	fr := journal.Frame{Kind: 1}
	if err := appendWait(j, &fr); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// TestI7JournalFailAt fails every operation of a run, once and for good, and then
// cuts the power with all, none and a part of the unsynced pages kept.
func TestI7JournalFailAt(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, m := range modes {
		for _, grows := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/grows=%v", m.name, grows), func(t *testing.T) {
				for n := int64(1); ; n++ {
					once := sweepOne(t, m.mode, n, false, grows)
					sticky := sweepOne(t, m.mode, n, true, grows)
					if once == nil && sticky == nil {
						if n < 30 {
							t.Fatalf("only %d operations", n)
						}
						return
					}
				}
			})
		}
	}
}

func sweepOne(t *testing.T, mode journal.SyncMode, n int64, sticky, grows bool) error {
	t.Helper()
	h := history{grows: grows}
	f := faultfs.New()
	f.FailAt(n, errBoom, sticky)
	h.run(t, f, mode)
	f.FailAt(0, nil, false)
	if h.err != nil && !errors.Is(h.err, errBoom) {
		t.Fatalf("operation %d: %v", n, h.err)
	}
	for i, percent := range []int{0, 20, 50, 50, 50, 80, 100} {
		what := fmt.Sprintf("operation %d (%v), %d %%", n, h.err, percent)
		h.check(t, f.Crash(percent, uint64(n)*100+uint64(i)), mode, what)
	}
	return h.err
}

// TestJournalHeaderCopies: a device may tear what it had not synced, so the second
// copy of the header is written only when the first one is safe.
func TestJournalHeaderCopies(t *testing.T) {
	f := faultfs.New()
	j := openJournal(t, crashConfig(f, journal.SyncNone))
	mustReplay(t, j, 0)
	if err := j.Close(true); err != nil {
		t.Fatal(err)
	}
	copies, unsynced := 0, 0
	for _, op := range f.Trace() {
		switch {
		case op.Kind == "sync":
			unsynced = 0
		case op.Kind == "write" && op.Off < journal.RingStart:
			copies, unsynced = copies+1, unsynced+1
		}
		if unsynced > 1 {
			t.Fatalf("%+v: the other copy was not synced before", op)
		}
	}
	if copies != 6 { // made, epoch begun, closed
		t.Errorf("%d copies were written, expected 6", copies)
	}
}
