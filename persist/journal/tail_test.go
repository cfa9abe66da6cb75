package journal_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/faultfs"
	"github.com/firstseen/firstseen/internal/vfs"
	"github.com/firstseen/firstseen/persist/journal"
)

// memory puts one file into a file system in memory.
func memory(t *testing.T, content []byte) *faultfs.FS {
	t.Helper()
	f := faultfs.New()
	if err := vfs.WriteFileAtomic(f, "journal", content); err != nil {
		t.Fatal(err)
	}
	return f
}

func image(t *testing.T, f vfs.FS) []byte {
	t.Helper()
	b, err := vfs.ReadFile(f, "journal")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestJournalTornTail stops the last write after each of its bytes: the frames
// before are there, those of the write as far as they got, and what comes after
// is appended behind them.
func TestJournalTornTail(t *testing.T) {
	f := faultfs.New()
	c := journal.Config{FS: f, Path: "journal", RingBytes: 4096}.WithBoot(1)
	j := openJournal(t, c)
	mustReplay(t, j, 0)
	rng := rand.New(rand.NewPCG(7, 8))
	var live []journal.Frame
	var from journal.Pos
	for range 30 { // ends across the ring's end
		fr := randomFrame(rng, 200)
		if err := appendWait(j, &fr); err != nil {
			t.Fatal(err)
		}
		if live = append(live, fr); len(live) > 5 {
			from, live = live[0].End, live[1:]
			j.Release(from)
		}
	}
	before := image(t, f)
	acked := len(live)
	for range 6 {
		fr := randomFrame(rng, 200)
		if err := appendFrame(j, &fr); err != nil {
			t.Fatal(err)
		}
		live = append(live, fr)
	}
	start := live[acked-1].End
	if err := j.Wait(live[len(live)-1].End); err != nil {
		t.Fatal(err)
	}
	after := image(t, f)
	_ = j.Close(false)

	torn := bytes.Clone(before)
	for pos := start; pos < live[len(live)-1].End; pos++ {
		torn[journal.RingStart+pos%4096] = after[journal.RingStart+pos%4096]
		c.FS = memory(t, torn)
		j := openJournal(t, c.WithBoot(2))
		got, r := mustReplay(t, j, from)
		want := acked
		for want < len(live) && live[want].End-pad(live[want]) <= pos+1 {
			want++
		}
		if err := sameFrames(live[:want], got); err != nil {
			t.Fatalf("torn at %d: %v", pos, err)
		}
		if !r.PowerLoss || r.Clean || r.Frames != int64(want) || r.Dropped < 0 {
			t.Fatalf("torn at %d: %+v", pos, r)
		}
		next := randomFrame(rng, 100)
		if err := appendWait(j, &next); err != nil {
			t.Fatal(err)
		}
		_ = j.Close(false)
		got, _ = mustReplay(t, openJournal(t, c), from)
		if err := sameFrames(append(live[:want:want], next), got); err != nil {
			t.Fatalf("torn at %d and continued: %v", pos, err)
		}
	}
}

// pad returns the bytes that fill a frame up to a multiple of 8.
func pad(f journal.Frame) uint64 {
	return uint64(journal.FrameSpace(len(f.Payload)) - journal.FrameHeaderLen - len(f.Payload))
}

// TestJournalStaleFrames: frames behind a hole are dead for good. In each round
// the write of B and C loses B; then a B' of the same length is written over the
// hole, so that the old C would follow it without a seam.
func TestJournalStaleFrames(t *testing.T) {
	frame := func(name string) journal.Frame {
		return journal.Frame{Kind: journal.KindMark, Payload: []byte(name)}
	}
	f := faultfs.New()
	c := journal.Config{FS: f, Path: "journal", RingBytes: 4096}.WithBoot(1)
	j := openJournal(t, c)
	mustReplay(t, j, 0)
	a, b, cc := frame("A       "), frame("B       "), frame("C       ")
	for _, fr := range []*journal.Frame{&a, &b, &cc} {
		if err := appendFrame(j, fr); err != nil {
			t.Fatal(err)
		}
		if fr == &a {
			if err := j.Wait(a.End); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := j.Wait(cc.End); err != nil {
		t.Fatal(err)
	}
	_ = j.Close(false)
	torn := image(t, f)
	clear(torn[journal.RingStart+a.End:][:b.End-a.End]) // B's sector was never written

	for boot := byte(2); boot < 6; boot++ {
		c.FS = memory(t, torn)
		j = openJournal(t, c.WithBoot(boot))
		got, r := mustReplay(t, j, 0)
		if err := sameFrames([]journal.Frame{a}, got); err != nil {
			t.Fatalf("boot %d: %v", boot, err)
		}
		if r.Dropped != int64(cc.End-a.End) {
			t.Fatalf("boot %d: %+v, want %d dropped", boot, r, cc.End-a.End)
		}
		b2 := frame("B prime ")
		if err := appendWait(j, &b2); err != nil {
			t.Fatal(err)
		}
		_ = j.Close(false)
		continued := image(t, c.FS)

		c.FS = memory(t, continued)
		got, _ = mustReplay(t, openJournal(t, c.WithBoot(boot)), 0)
		if err := sameFrames([]journal.Frame{a, b2}, got); err != nil {
			t.Fatalf("boot %d: the dead came back: %v", boot, err)
		}
		// Also when replay starts right at the dead frame.
		c.FS = memory(t, continued)
		if got, _ = mustReplay(t, openJournal(t, c.WithBoot(boot)), b2.End); len(got) != 0 {
			t.Fatalf("boot %d: the dead came back at the start", boot)
		}
		// The next round's hole is B' in the file that knows this round's epoch.
		torn = continued
		clear(torn[journal.RingStart+a.End:][:b.End-a.End])
		c2 := c
		c2.FS = memory(t, torn)
		if _, _, err := replay(openJournal(t, c2.WithBoot(boot+1)), 0); err != nil {
			t.Fatalf("boot %d: an unfinished write is no damage: %v", boot, err)
		}
		if b2.End != b.End {
			t.Fatal("B' has another length")
		}
		// Nothing of the next round's epoch lies behind the hole.
		cc.End = a.End
	}
}

// TestJournalPowerCut: a watermark that reached the disk tells what the operating
// system once had, which after a power cut need not be there, and while it runs
// must be.
func TestJournalPowerCut(t *testing.T) {
	ring, mark, live, from := makeJournal(t, damageCases[3]) // SyncNone
	last := live[len(live)-1]
	space := uint64(journal.FrameSpace(len(last.Payload)))
	clear(ring[journal.RingStart+int(last.End-space)%4096:][:space])
	files := func() mappedFS {
		return mappedFS{"journal": {data: bytes.Clone(ring)}, "journal" + journal.MarkSuffix: {data: bytes.Clone(mark)}}
	}
	open := func(m mappedFS, boot byte) ([]journal.Frame, journal.Replayed, error) {
		j := openJournal(t, journal.Config{FS: m, Path: "journal", Sync: journal.SyncNone}.WithBoot(boot))
		defer j.Close(false)
		return replay(j, from)
	}
	if _, _, err := open(files(), 1); !errors.Is(err, dedup.ErrCorrupt) {
		t.Errorf("lost under a running system: %v", err)
	}
	m := files()
	got, r, err := open(m, 2)
	if err != nil || sameFrames(live[:len(live)-1], got) != nil {
		t.Fatalf("lost in a power cut: %v, %v", err, sameFrames(live[:len(live)-1], got))
	}
	if !r.PowerLoss || r.Dropped != int64(space) || r.End != last.End-space {
		t.Errorf("%+v, want %d bytes dropped", r, space)
	}
	// Killed right after the epoch's header was written: the note is the old one.
	m["journal"+journal.MarkSuffix].data = bytes.Clone(mark)
	got, r, err = open(m, 2)
	if err != nil || sameFrames(live[:len(live)-1], got) != nil {
		t.Fatalf("killed while the epoch began: %v", err)
	}
	if r.PowerLoss || r.Clean || r.Dropped != 0 {
		t.Errorf("%+v", r)
	}
}

// TestJournalMayHaveLost: after a power loss the journal says what the mode of the
// run before allowed, whatever the mode of this one. Where nobody knows which run
// of the machine it is, any end that was not clean may have been one.
func TestJournalMayHaveLost(t *testing.T) {
	f := func(sync journal.SyncMode, interval time.Duration, clean bool, then byte, want time.Duration) {
		t.Helper()
		c := journal.Config{FS: mappedFS{}, Path: "journal", RingBytes: 4096, Sync: sync, Interval: interval}.WithBoot(1)
		j := openJournal(t, c)
		mustReplay(t, j, 0)
		if err := j.Close(clean); err != nil {
			t.Fatal(err)
		}
		c.Sync = journal.SyncAlways
		_, r := mustReplay(t, openJournal(t, c.WithBoot(then)), 0)
		if r.MayHaveLost != want || r.Clean != clean || r.PowerLoss != (!clean && then != 1) {
			t.Errorf("%v, %v, clean %v, boot %d: %+v, want %v", sync, interval, clean, then, r, want)
		}
	}
	f(journal.SyncAlways, 0, false, 2, 0)
	f(journal.SyncInterval, 0, false, 2, 100*time.Millisecond)
	f(journal.SyncInterval, 1500*time.Microsecond, false, 2, 2*time.Millisecond)
	f(journal.SyncInterval, 1<<62, false, 2, (1<<32-2)*time.Millisecond)
	f(journal.SyncNone, 0, false, 2, -1)
	f(journal.SyncNone, 0, false, 0, -1)
	f(journal.SyncNone, 0, false, 1, 0)
	f(journal.SyncNone, 0, true, 2, 0)
}
