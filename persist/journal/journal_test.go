package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist/journal"
	"go.uber.org/goleak"
)

// openJournal opens a journal that is closed when the test ends.
func openJournal(t testing.TB, c journal.Config) *journal.Journal {
	t.Helper()
	j, err := journal.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close(false) })
	return j
}

// replay returns copies of all frames from a position on.
func replay(j *journal.Journal, from journal.Pos) ([]journal.Frame, journal.Replayed, error) {
	var frames []journal.Frame
	r, err := j.Replay(from, func(f *journal.Frame) error {
		c := *f
		c.Payload = bytes.Clone(f.Payload)
		frames = append(frames, c)
		return nil
	})
	return frames, r, err
}

func mustReplay(t testing.TB, j *journal.Journal, from journal.Pos) ([]journal.Frame, journal.Replayed) {
	t.Helper()
	frames, r, err := replay(j, from)
	if err != nil {
		t.Fatalf("replay from %d: %v", from, err)
	}
	return frames, r
}

// appendFrame reserves and appends.
func appendFrame(j *journal.Journal, f *journal.Frame) error {
	if err := j.Reserve(context.Background(), journal.FrameSpace(len(f.Payload))); err != nil {
		return err
	}
	_, err := j.Append(f)
	return err
}

// appendWait reserves, appends and waits.
func appendWait(j *journal.Journal, f *journal.Frame) error {
	if err := appendFrame(j, f); err != nil {
		return err
	}
	return j.Wait(f.End)
}

func randomFrame(rng *rand.Rand, maxPayload int) journal.Frame {
	p := make([]byte, rng.IntN(maxPayload+1))
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	return journal.Frame{
		Kind: uint8(1 + rng.IntN(254)), Form: uint8(rng.IntN(6)), Shard: uint16(rng.Uint32()),
		Count: rng.Uint32(), Generation: uint64(rng.Uint32()), Time: int64(rng.Uint64()), Payload: p,
	}
}

// sameFrames compares what was appended with what was replayed.
func sameFrames(want, got []journal.Frame) error {
	if len(want) != len(got) {
		return fmt.Errorf("%d frames replayed, want %d", len(got), len(want))
	}
	for i := range want {
		if err := sameFrame(want[i], got[i]); err != nil {
			return fmt.Errorf("frame %d: %w", i, err)
		}
	}
	return nil
}

func sameFrame(w, g journal.Frame) error {
	if !bytes.Equal(w.Payload, g.Payload) {
		return fmt.Errorf("payload of %d bytes differs from the %d appended", len(g.Payload), len(w.Payload))
	}
	w.Payload, g.Payload, w.Alone = nil, nil, false // Replay does not know Alone
	if fmt.Sprint(w) != fmt.Sprint(g) {
		return fmt.Errorf("%+v, want %+v", g, w)
	}
	return nil
}

var modes = []struct {
	name string
	mode journal.SyncMode
}{{"always", journal.SyncAlways}, {"interval", journal.SyncInterval}, {"none", journal.SyncNone}}

func TestJournalRoundTrip(t *testing.T) {
	for _, m := range modes {
		for _, clean := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/clean=%v", m.name, clean), func(t *testing.T) {
				testRoundTrip(t, m.mode, clean)
			})
			t.Run(fmt.Sprintf("%s/clean=%v/grows", m.name, clean), func(t *testing.T) {
				testGrowing(t, m.mode, clean)
			})
		}
	}
}

// testGrowing is testRoundTrip with a ring that is made larger now and then, also while a
// part of the log lies in the lap before.
func testGrowing(t *testing.T, mode journal.SyncMode, clean bool) {
	defer goleak.VerifyNone(t)
	const first, most = 8192, 1 << 18
	c := journal.Config{Path: filepath.Join(t.TempDir(), "journal"), RingBytes: first, MaxRing: most, Sync: mode, Interval: time.Hour}
	rng := rand.New(rand.NewPCG(2, uint64(mode)))
	var live []journal.Frame // not released
	var tail, end journal.Pos
	ring, across := int64(first), 0
	for round := range 60 {
		j := openJournal(t, c)
		got, r := mustReplay(t, j, tail)
		if err := sameFrames(live, got); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if r.End != end || r.Clean != (clean || round == 0) || r.Dropped != 0 || r.PowerLoss {
			t.Fatalf("round %d: %+v, want end %d", round, r, end)
		}
		for range rng.IntN(30) {
			f := randomFrame(rng, []int{0, 20, 300, first/4 - 48}[rng.IntN(4)])
			for {
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if err := j.Reserve(ctx, journal.FrameSpace(len(f.Payload))); err == nil {
					break
				}
				n := 1 + rng.IntN(len(live))
				tail, live = live[n-1].End, live[n:]
				j.Release(tail)
			}
			if _, err := j.Append(&f); err != nil {
				t.Fatal(err)
			}
			if err := j.Wait(f.End); err != nil {
				t.Fatal(err)
			}
			end = f.End
			live = append(live, f)
			if rng.IntN(200) == 0 {
				if ring += 8192; tail/most != end/most {
					across++
				}
				if err := j.Grow(ring); err != nil {
					t.Fatal(err)
				}
			}
		}
		used := int64(0)
		for _, f := range live {
			used += int64(journal.FrameSpace(len(f.Payload)))
		}
		// A pad before the file's end, and one at a place where it once ended, may come on top.
		if s := j.State(); s.End != end || s.Tail != tail || s.RingBytes != min(ring, most) || s.Used < used || s.Used > s.RingBytes {
			t.Fatalf("%+v, want tail %d end %d, %d used, ring %d", s, tail, end, used, ring)
		}
		if at := j.Back(0); at != end {
			t.Fatalf("Back(0) is %d, the end %d", at, end)
		}
		if len(live) > 0 {
			last := live[len(live)-1]
			if at, want := j.Back(int64(journal.FrameSpace(len(last.Payload)))), last.End-uint64(journal.FrameSpace(len(last.Payload))); at != want {
				t.Fatalf("Back of the last frame is %d, want %d", at, want)
			}
		}
		if err := j.Close(clean); err != nil {
			t.Fatal(err)
		}
	}
	if end < 5*most || ring < 4*first || across == 0 {
		t.Fatalf("the ring was passed only %d times, grew to %d, %d times with a part of the log in the lap before", end/most, ring, across)
	}
}

// testRoundTrip goes around a small ring many times, with reopenings and frames
// of all sizes up to the largest.
func testRoundTrip(t *testing.T, mode journal.SyncMode, clean bool) {
	defer goleak.VerifyNone(t)
	const ring = 8192
	c := journal.Config{Path: filepath.Join(t.TempDir(), "journal"), RingBytes: ring, Sync: mode, Interval: time.Hour}
	rng := rand.New(rand.NewPCG(1, uint64(mode)))
	var live []journal.Frame // not released
	var tail, end journal.Pos
	for round := range 60 {
		j := openJournal(t, c)
		got, r := mustReplay(t, j, tail)
		if err := sameFrames(live, got); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if r.End != end || r.Clean != (clean || round == 0) || r.Dropped != 0 || r.PowerLoss {
			t.Fatalf("round %d: %+v, want end %d", round, r, end)
		}
		for range rng.IntN(30) {
			f := randomFrame(rng, []int{0, 20, 300, ring/4 - 48}[rng.IntN(4)])
			for len(live) > 0 && tail+ring < end+uint64(journal.FrameSpace(len(f.Payload)))+ring/4 {
				n := 1 + rng.IntN(len(live))
				tail, live = live[n-1].End, live[n:]
				j.Release(tail)
			}
			if err := appendWait(j, &f); err != nil {
				t.Fatal(err)
			}
			end = f.End
			live = append(live, f)
		}
		if rng.IntN(3) == 0 {
			if err := j.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		if s := j.State(); s.End != end || s.Tail != tail || s.RingBytes != ring || s.Used != int64(end-tail) {
			t.Fatalf("%+v, want tail %d end %d", s, tail, end)
		}
		if err := j.Close(clean); err != nil {
			t.Fatal(err)
		}
	}
	if end < 20*ring {
		t.Fatalf("the ring was passed only %d times", end/ring)
	}
}

func TestJournalGroupCommit(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			c := journal.Config{Path: filepath.Join(t.TempDir(), "journal"), RingBytes: 1 << 20, Sync: m.mode, Interval: time.Millisecond}
			j := openJournal(t, c)
			mustReplay(t, j, 0)
			const callers, each = 8, 100
			var mu sync.Mutex
			var all []journal.Frame
			var wg sync.WaitGroup
			for g := range callers {
				wg.Go(func() {
					for i := range each {
						f := journal.Frame{Kind: journal.KindMark, Shard: uint16(g), Count: uint32(i), Payload: make([]byte, i)}
						if err := j.Reserve(context.Background(), journal.FrameSpace(i)); err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						_, err := j.Append(&f)
						all = append(all, f)
						mu.Unlock()
						if err == nil {
							err = j.Wait(f.End)
						}
						if err != nil {
							t.Error(err)
							return
						}
						if s := j.State(); s.Written < f.End || m.mode == journal.SyncAlways && s.Durable < f.End {
							t.Errorf("acknowledged %d at %+v", f.End, s)
						}
					}
				})
			}
			wg.Wait()
			if err := j.Close(false); err != nil {
				t.Fatal(err)
			}
			got, _ := mustReplay(t, openJournal(t, c), 0)
			if err := sameFrames(all, got); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestJournalMisuse(t *testing.T) {
	c := journal.Config{Path: filepath.Join(t.TempDir(), "journal"), RingBytes: 4096}
	j := openJournal(t, c)
	if err := j.Reserve(context.Background(), 48); err == nil {
		t.Error("Reserve before Replay")
	}
	mustReplay(t, j, 0)
	if _, _, err := replay(j, 0); err == nil {
		t.Error("a second Replay")
	}
	bad := func(name string, f journal.Frame) {
		t.Helper()
		if _, err := j.Append(&f); err == nil {
			t.Error("appended: " + name)
		}
	}
	bad("no room reserved", journal.Frame{Kind: 1})
	if err := j.Reserve(context.Background(), 2048); err != nil {
		t.Fatal(err)
	}
	bad("kind 0", journal.Frame{})
	bad("kind 255", journal.Frame{Kind: 255})
	bad("generation", journal.Frame{Kind: 1, Generation: 1 << 32})
	bad("a quarter of the ring", journal.Frame{Kind: 1, Payload: make([]byte, 1024-47)})
	if err := j.Reserve(context.Background(), 2056); err == nil {
		t.Error("reserved more than half of the ring")
	}
	if err := j.Wait(8); err == nil {
		t.Error("waited for what was never appended")
	}
	if err := j.Close(true); err != nil {
		t.Error(err)
	}
	if err := j.Close(true); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if err := j.Reserve(context.Background(), 48); !errors.Is(err, dedup.ErrClosed) {
		t.Errorf("Reserve after Close: %v", err)
	}
	if _, err := j.Append(&journal.Frame{Kind: 1}); !errors.Is(err, dedup.ErrClosed) {
		t.Errorf("Append after Close: %v", err)
	}
	if err := j.Sync(); !errors.Is(err, dedup.ErrClosed) {
		t.Errorf("Sync after Close: %v", err)
	}
	if _, err := journal.Open(journal.Config{Path: filepath.Join(t.TempDir(), "journal"), RingBytes: 100}); err == nil {
		t.Error("a ring of 100 bytes")
	}
}
