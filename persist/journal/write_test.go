package journal_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firstseen/firstseen/internal/faultfs"
	"github.com/firstseen/firstseen/persist/journal"
	"go.uber.org/goleak"
)

// TestI8JournalSlowDisk stops the disk within a sync: appends go on, the callers
// that gather meanwhile share one write and one sync, and none of them has an
// answer before.
func TestI8JournalSlowDisk(t *testing.T) {
	defer goleak.VerifyNone(t)
	f := faultfs.New()
	j := openJournal(t, journal.Config{FS: f, Path: "journal", RingBytes: 1 << 16})
	mustReplay(t, j, 0)
	entered, release := make(chan struct{}), make(chan struct{})
	f.Delay(func(op faultfs.Op) {
		if op.Kind == "sync" {
			entered <- struct{}{}
			<-release
		}
	})
	var answers sync.WaitGroup
	call := func() journal.Pos {
		fr := journal.Frame{Kind: 1, Payload: make([]byte, 100)}
		if err := appendFrame(j, &fr); err != nil {
			t.Fatal(err)
		}
		answers.Go(func() {
			if err := j.Wait(fr.End); err != nil {
				t.Error(err)
			}
			if d := j.State().Durable; d < fr.End {
				t.Errorf("answered at %d, durable is %d", fr.End, d)
			}
		})
		return fr.End
	}
	first := call()
	<-entered
	before := j.State()
	if before.Durable >= first {
		t.Errorf("%+v before the sync ended", before)
	}
	for range 20 {
		call() // the disk stands still, and yet this returns
	}
	release <- struct{}{}
	<-entered // the one sync for all twenty
	if s := j.State(); s.Durable != first || s.Writes != before.Writes+1 {
		t.Errorf("%+v, want durable %d", s, first)
	}
	release <- struct{}{}
	answers.Wait()
	if s := j.State(); s.Syncs != 2 || s.Writes != 2 || s.Durable != s.End || s.Unsynced != 0 {
		t.Errorf("%+v, want 2 writes and 2 syncs", s)
	}
	f.Delay(nil)
}

// TestJournalNobodyWaitsForEver: callers of all batches that gather are woken when
// the journal is closed, or fails, while they wait.
func TestJournalNobodyWaitsForEver(t *testing.T) {
	for i := range 300 {
		f := faultfs.New()
		j := openJournal(t, journal.Config{FS: f, Path: "journal", RingBytes: 1 << 16})
		mustReplay(t, j, 0)
		f.Delay(func(faultfs.Op) { runtime.Gosched() })
		var callers sync.WaitGroup
		var answers atomic.Int64
		for range 8 {
			callers.Go(func() {
				fr := journal.Frame{Kind: 1, Payload: make([]byte, 100)}
				for appendWait(j, &fr) == nil {
					j.Release(fr.End)
					answers.Add(1)
				}
			})
		}
		for answers.Load() < int64(i%40) {
			runtime.Gosched()
		}
		if i%2 == 0 {
			if err := j.Close(false); err != nil {
				t.Fatal(err)
			}
		} else {
			f.FailAt(1, io.ErrShortWrite, true)
		}
		done := make(chan struct{})
		go func() { callers.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatalf("round %d: a caller waits for ever", i)
		}
	}
}

// TestJournalSlowWrite: without a sync too nobody has an answer before the write.
func TestJournalSlowWrite(t *testing.T) {
	defer goleak.VerifyNone(t)
	f := faultfs.New()
	j := openJournal(t, journal.Config{FS: f, Path: "journal", RingBytes: 1 << 16, Sync: journal.SyncNone})
	mustReplay(t, j, 0)
	entered, release := make(chan struct{}), make(chan struct{})
	f.Delay(func(faultfs.Op) {
		entered <- struct{}{}
		<-release
	})
	fr := journal.Frame{Kind: 1}
	if err := appendFrame(j, &fr); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- j.Wait(fr.End) }()
	<-entered
	if s := j.State(); s.Written >= fr.End || s.End != fr.End {
		t.Errorf("%+v during the write", s)
	}
	release <- struct{}{}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s := j.State(); s.Written != fr.End || s.Durable >= fr.End {
		t.Errorf("%+v after the write", s)
	}
	f.Delay(nil)
}

// TestJournalInterval: the background syncs what nobody asks for.
func TestJournalInterval(t *testing.T) {
	defer goleak.VerifyNone(t)
	j := openJournal(t, journal.Config{FS: faultfs.New(), Path: "journal", RingBytes: 1 << 16, Sync: journal.SyncInterval, Interval: time.Millisecond})
	mustReplay(t, j, 0)
	fr := journal.Frame{Kind: 1}
	if err := appendFrame(j, &fr); err != nil {
		t.Fatal(err)
	}
	for j.State().Durable < fr.End {
		runtime.Gosched()
	}
	syncs := j.State().Syncs
	if err := j.Sync(); err != nil || j.State().Syncs != syncs {
		t.Errorf("a sync with nothing to sync: %+v, %v", j.State(), err)
	}
	if err := j.Close(true); err != nil {
		t.Fatal(err)
	}
}

// TestJournalPagesAhead: when small batches come fast the ring's pages are mapped
// before them, lap after lap; when they are few nothing is, since a sync would
// write what was mapped. What lies in the pages never changes, syncs or not.
func TestJournalPagesAhead(t *testing.T) {
	if !journal.MapsPages() {
		t.Log("no mappings here")
		return
	}
	defer goleak.VerifyNone(t)
	c := journal.Config{Path: filepath.Join(t.TempDir(), "journal"), RingBytes: 1 << 20, Sync: journal.SyncInterval, Interval: time.Hour}
	j := openJournal(t, c)
	mustReplay(t, j, 0)
	rng := rand.New(rand.NewPCG(7, 7))
	var kept []journal.Frame
	store := func(bytes uint64) {
		for to := j.State().End + bytes; j.State().End < to; {
			f := randomFrame(rng, 100)
			if err := appendWait(j, &f); err != nil {
				t.Fatal(err)
			}
			if kept = append(kept, f); len(kept) > 1000 {
				kept = kept[500:]
				j.Release(kept[0].End - uint64(journal.FrameSpace(len(kept[0].Payload))))
			}
		}
	}
	for range 10 {
		store(1 << 10)
		if err := j.Sync(); err != nil {
			t.Fatal(err)
		}
		if j.PagesReady() != 0 {
			t.Fatal("pages were mapped for a few frames")
		}
	}
	j.SetSyncing(true)
	store(600 << 10)
	if j.PagesReady() != 0 {
		t.Fatal("pages were mapped for a sync to take back")
	}
	j.SetSyncing(false)
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var syncing sync.WaitGroup
	for lap := range 8 {
		if lap == 4 { // from here on syncs run beside
			syncing.Go(func() {
				for !stop.Load() {
					if err := j.Sync(); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		if store(600 << 10); lap >= 4 {
			continue
		}
		// It is asked again with each batch, so it needs some.
		for deadline := time.Now().Add(10 * time.Second); j.PagesReady() <= j.State().End; store(100) {
			if time.Now().After(deadline) {
				t.Fatalf("lap %d: pages are mapped up to %d, the journal's end is %d", lap, j.PagesReady(), j.State().End)
			}
		}
		if err := j.Sync(); err != nil || j.PagesReady() != 0 {
			t.Fatalf("after a sync pages up to %d are mapped, %v", j.PagesReady(), err)
		}
	}
	stop.Store(true)
	syncing.Wait()
	from := kept[0].End - uint64(journal.FrameSpace(len(kept[0].Payload)))
	if err := j.Close(false); err != nil {
		t.Fatal(err)
	}
	j = openJournal(t, c)
	got, _ := mustReplay(t, j, from)
	if err := sameFrames(kept, got); err != nil {
		t.Error(err)
	}
	if err := j.Close(true); err != nil {
		t.Fatal(err)
	}
}

// TestJournalGatheredSmall: callers with small frames that gathered behind one who
// writes, and leaves when it has written often enough, all get their answer.
func TestJournalGatheredSmall(t *testing.T) {
	defer goleak.VerifyNone(t)
	j := openJournal(t, journal.Config{FS: mappedFS{}, Path: "journal", RingBytes: 1 << 16, Sync: journal.SyncInterval, Interval: 10 * time.Second})
	mustReplay(t, j, 0)
	j.SetPagesReady(1 << 16)
	const callers = 4
	answers := make(chan error, callers)
	j.BusyWhile(func() {
		for range callers {
			go func() {
				f := journal.Frame{Kind: 1, Payload: make([]byte, 16), Alone: true}
				answers <- appendWait(j, &f)
			}()
		}
		for gathered := 0; gathered < 1000; { // and some time more, for them to wait
			if runtime.Gosched(); j.State().End == callers*uint64(journal.FrameSpace(16)) {
				gathered++
			}
		}
		if s := j.State(); s.Written != 0 {
			t.Errorf("%d bytes were stored past what is being written", s.Written)
		}
	})
	for range callers {
		select {
		case err := <-answers:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("a caller waits for ever: %+v", j.State())
		}
	}
	if err := j.Close(true); err != nil {
		t.Fatal(err)
	}
}

// TestJournalSmallAndLarge: callers of small batches, which are stored into mapped
// pages with the journal locked, some as they are appended, of large ones, which are
// written, and syncs meet.
// What has its answer is in the file, nobody waits for ever, and all of it is
// replayed.
func TestJournalSmallAndLarge(t *testing.T) {
	defer goleak.VerifyNone(t)
	const ring = 32 << 20
	c := journal.Config{Path: filepath.Join(t.TempDir(), "journal"), RingBytes: ring, Sync: journal.SyncInterval, Interval: 10 * time.Second}
	j := openJournal(t, c)
	mustReplay(t, j, 0)
	file, err := os.Open(c.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var written [6][]journal.Frame
	var mapped atomic.Int64
	var callers sync.WaitGroup
	for n := range written {
		callers.Go(func() {
			rng := rand.New(rand.NewPCG(8, uint64(n)))
			largest := 64
			if n == 0 {
				largest = 8 << 10
			}
			for j.State().End < ring/2 {
				f := randomFrame(rng, largest)
				f.Alone = n%2 == 1
				if err := appendWait(j, &f); err != nil {
					t.Error(err)
					return
				}
				written[n] = append(written[n], f)
				if j.PagesReady() >= f.End {
					mapped.Add(1)
				}
				if n == 1 && rng.IntN(2000) == 0 {
					if err := j.Sync(); err != nil {
						t.Error(err)
						return
					}
				}
				at := f.End - uint64(journal.FrameSpace(len(f.Payload)))
				got := make([]byte, journal.FrameHeaderLen+len(f.Payload))
				if _, err := file.ReadAt(got, journal.RingStart+int64(at)); err != nil {
					t.Error(err)
					return
				}
				if binary.LittleEndian.Uint64(got[16:]) != at || !bytes.Equal(got[journal.FrameHeaderLen:], f.Payload) {
					t.Errorf("the frame at %d has its answer and is not in the file", at)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { callers.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("a caller waits for ever")
	}
	if mapped.Load() == 0 && journal.MapsPages() {
		t.Error("no frame met mapped pages")
	}
	if err := j.Close(false); err != nil {
		t.Fatal(err)
	}
	var want []journal.Frame
	for _, fs := range written {
		want = append(want, fs...)
	}
	slices.SortFunc(want, func(a, b journal.Frame) int { return cmp.Compare(a.End, b.End) })
	j = openJournal(t, c)
	got, _ := mustReplay(t, j, 0)
	if err := sameFrames(want, got); err != nil {
		t.Error(err)
	}
	if err := j.Close(true); err != nil {
		t.Fatal(err)
	}
}

func TestJournalAllocs(t *testing.T) {
	for _, m := range modes {
		j := openJournal(t, journal.Config{Path: filepath.Join(t.TempDir(), "journal"), RingBytes: 1 << 20, Sync: m.mode})
		mustReplay(t, j, 0)
		for _, size := range []int{16, 992} {
			f := journal.Frame{Kind: 1, Payload: make([]byte, size)}
			ctx := context.Background()
			allocs := testing.AllocsPerRun(100, func() {
				if err := j.Reserve(ctx, journal.FrameSpace(size)); err != nil {
					t.Fatal(err)
				}
				if _, err := j.Append(&f); err != nil {
					t.Fatal(err)
				}
				if err := j.Wait(f.End); err != nil {
					t.Fatal(err)
				}
				j.Release(f.End)
			})
			// A sync takes two for its system call, which is nothing beside its
			// time.
			if limit := map[bool]float64{true: 4}[m.mode == journal.SyncAlways]; allocs > limit {
				t.Errorf("%s, %d bytes: %v allocations", m.name, size, allocs)
			}
		}
		_ = j.Close(false)
	}
}
