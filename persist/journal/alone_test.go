package journal_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/firstseen/firstseen/persist/journal"
)

// TestJournalAlone: frames that come alone are in the ring as soon as they are appended,
// through many laps, at ends that leave no room, room for nothing and room for a pad
// frame, and behind an opening in the middle of a lap.
func TestJournalAlone(t *testing.T) {
	const ring, atEnd, padFrom = 4096, 6, journal.FrameHeaderLen
	c := journal.Config{FS: mappedFS{}, Path: "journal", RingBytes: ring, Sync: journal.SyncInterval, Interval: 10 * time.Second}
	rng := rand.New(rand.NewPCG(2, 9))
	var live []journal.Frame // as long as they are not released
	tail := journal.Pos(0)
	ends := [3]int{} // laps that end with no rest, one too short for a pad frame, and a pad frame
	for range 4 {
		j := openJournal(t, c)
		frames, _ := mustReplay(t, j, tail)
		if err := sameFrames(live, frames); err != nil {
			t.Fatal(err)
		}
		j.SetPagesReady(1 << 62)
		for range 2000 {
			f := randomFrame(rng, 120)
			f.Alone = true
			space := uint64(journal.FrameSpace(len(f.Payload)))
			before := j.State()
			if err := appendFrame(j, &f); err != nil {
				t.Fatal(err)
			}
			rest := ring - before.End%ring
			padded := rest < space && rest >= padFrom
			switch {
			case rest == space:
				ends[0]++
			case padded:
				ends[2]++
			case rest < space:
				ends[1]++
			}
			if s := j.State(); !padded && s.Written != f.End {
				t.Fatalf("the frame that ends at %d is not in the ring, which has all below %d", f.End, s.Written)
			}
			if err := j.Wait(f.End); err != nil {
				t.Fatal(err)
			}
			s := j.State()
			want := before.Bytes + space
			if padded {
				want += padFrom // its header is all that is written of it
			}
			if s.Written != f.End || s.Bytes != want {
				t.Fatalf("%d bytes up to %d, want %d up to %d", s.Bytes, s.Written, want, f.End)
			}
			if live = append(live, f); len(live) > atEnd {
				tail = live[0].End
				live = live[1:]
				j.Release(tail)
			}
		}
		if err := j.Close(true); err != nil {
			t.Fatal(err)
		}
	}
	for i, n := range ends {
		if n < 10 {
			t.Errorf("only %d laps ended in way %d", n, i)
		}
	}
}
