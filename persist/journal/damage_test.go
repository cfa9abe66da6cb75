package journal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/faultfs"
	"github.com/firstseen/firstseen/persist/journal"
)

// damageCase is how a run ended and what the next one knows of it.
type damageCase struct {
	name  string
	clean bool
	mode  journal.SyncMode
	// reboot: the next run is one of another boot.
	reboot bool
	// lost: the watermark is gone.
	lost bool
}

var damageCases = []damageCase{
	{"clean", true, journal.SyncAlways, false, false},
	{"clean,reboot", true, journal.SyncNone, true, true},
	{"kill,always", false, journal.SyncAlways, false, false},
	{"kill,none", false, journal.SyncNone, false, false},
	{"powercut,always", false, journal.SyncAlways, true, false},
	{"powercut,always,lost", false, journal.SyncAlways, true, true},
}

// makeJournal writes a small ring, twice around, and returns its files' bytes,
// the live frames and where replay starts.
func makeJournal(t *testing.T, d damageCase) (ring, mark []byte, live []journal.Frame, from journal.Pos) {
	t.Helper()
	m := mappedFS{}
	j := openJournal(t, journal.Config{FS: m, Path: "journal", RingBytes: 4096, Sync: d.mode}.WithBoot(1))
	mustReplay(t, j, 0)
	rng := rand.New(rand.NewPCG(3, 4))
	for i := 0; i < 40 || len(live) < 12; i++ {
		for len(live) > 14 {
			from, live = live[0].End, live[1:]
			j.Release(from)
		}
		f := randomFrame(rng, 120)
		if err := appendWait(j, &f); err != nil {
			t.Fatal(err)
		}
		live = append(live, f)
	}
	if err := j.Close(d.clean); err != nil {
		t.Fatal(err)
	}
	return m["journal"].data, m["journal"+journal.MarkSuffix].data, live, from
}

// reopen makes files of copies and replays them.
func reopen(d damageCase, ring, mark []byte, from journal.Pos) ([]journal.Frame, journal.Replayed, error) {
	m := mappedFS{"journal": {data: bytes.Clone(ring)}}
	c := journal.Config{FS: m, Path: "journal", RingBytes: 4096, Sync: d.mode}.WithBoot(1)
	if d.reboot {
		c = c.WithBoot(2)
	}
	if !d.lost {
		m["journal"+journal.MarkSuffix] = &mappedFile{data: bytes.Clone(mark)}
	}
	j, err := journal.Open(c)
	if err != nil {
		return nil, journal.Replayed{}, err
	}
	defer j.Close(false)
	return replay(j, from)
}

// covered tells for each byte of the ring which live frame holds it, -1 for none;
// the bytes that fill a frame up to a multiple of 8 belong to none.
func covered(live []journal.Frame) []int {
	owner := make([]int, 4096)
	for i := range owner {
		owner[i] = -1
	}
	for i, f := range live {
		start := f.End - uint64(journal.FrameSpace(len(f.Payload)))
		for b := start; b < start+journal.FrameHeaderLen+uint64(len(f.Payload)); b++ {
			owner[b%4096] = i
		}
	}
	return owner
}

// TestI5JournalFlippedBit flips one bit in every byte of a journal: what was
// acknowledged is replayed, all of it, or the damage is reported. Only after a
// power cut that took the watermark, damage to the very last frame looks like a
// write that was not finished, because no sync came after it that could tell.
func TestI5JournalFlippedBit(t *testing.T) {
	for _, d := range damageCases {
		t.Run(d.name, func(t *testing.T) {
			ring, mark, live, from := makeJournal(t, d)
			if got, _, err := reopen(d, ring, mark, from); err != nil || sameFrames(live, got) != nil {
				t.Fatal("undamaged:", err, sameFrames(live, got))
			}
			owner := covered(live)
			rng := rand.New(rand.NewPCG(5, 6))
			flip := func(file []byte, at int) {
				bit := byte(1) << rng.IntN(8)
				file[at] ^= bit
				got, _, err := reopen(d, ring, mark, from)
				file[at] ^= bit
				what := fmt.Sprintf("byte %d of %d, bit %#x", at, len(file), bit)
				inFrame := len(file) > 4096 && at >= journal.RingStart && owner[at-journal.RingStart] >= 0
				switch {
				case errors.Is(err, dedup.ErrCorrupt):
					if !inFrame {
						// A pad is no caller's frame, but the way to the next one.
						if rest := at - journal.RingStart; rest < 0 || !padAt(ring, rest) {
							t.Errorf("%s: %v, though no frame is damaged", what, err)
						}
					}
				case err != nil:
					t.Errorf("%s: %v", what, err)
				case inFrame:
					last := len(live) - 1
					if !d.lost || d.clean || owner[at-journal.RingStart] != last || sameFrames(live[:last], got) != nil {
						t.Errorf("%s: damage to frame %d of %d gave no error and %d frames", what, owner[at-journal.RingStart], len(live), len(got))
					}
				default:
					if err := sameFrames(live, got); err != nil {
						t.Errorf("%s: %v", what, err)
					}
				}
			}
			for at := 0; at < len(ring); at++ {
				if at < journal.RingStart && at%4096 > 128 && at%97 != 0 && at%4096 < 4090 {
					continue // nothing but zeroes, of which some are tried
				}
				flip(ring, at)
			}
			for at := range 128 {
				flip(mark, at)
			}
		})
	}
}

// padAt tells whether an offset of the ring lies in a pad's header.
func padAt(ring []byte, off int) bool {
	for start := max(0, off-journal.FrameHeaderLen+1) &^ 7; start <= off; start += 8 {
		if ring[journal.RingStart+start] == 255 && off-start < journal.FrameHeaderLen {
			return true
		}
	}
	return false
}

// TestI5JournalCut cuts the file at some lengths, empties and loses it.
func TestI5JournalCut(t *testing.T) {
	d := damageCases[2]
	ring, mark, _, from := makeJournal(t, d)
	for size := 0; size < len(ring); size += 509 {
		if _, _, err := reopen(d, ring[:size], mark, from); !errors.Is(err, dedup.ErrCorrupt) {
			t.Fatalf("cut to %d bytes: %v", size, err)
		}
	}
	var ce *dedup.CorruptError
	if _, _, err := reopen(d, append(bytes.Clone(ring), 0), mark, from); !errors.As(err, &ce) || ce.File != "journal" || ce.Offset != int64(len(ring)) {
		t.Fatalf("one byte longer: %v", err)
	}
	// A new journal in the place of a lost one does not pretend to be the old.
	j := openJournal(t, journal.Config{FS: mappedFS{}, Path: "journal", RingBytes: 4096})
	if _, _, err := replay(j, from); !errors.Is(err, dedup.ErrCorrupt) {
		t.Fatalf("the journal was lost: %v", err)
	}
	// Unless that is asked for.
	j = openJournal(t, journal.Config{FS: mappedFS{}, Path: "journal", RingBytes: 4096, Start: from})
	if _, r := mustReplay(t, j, from); r.End != from || !r.Clean {
		t.Fatalf("%+v", r)
	}
}

// TestI5JournalNotBefore: a journal that is whole, and ends before a position that
// was durable, is an older copy, and it is left as it is.
func TestI5JournalNotBefore(t *testing.T) {
	for _, clean := range []bool{false, true} {
		f := faultfs.New()
		c := journal.Config{FS: f, Path: "journal", RingBytes: 4096}
		j := openJournal(t, c)
		mustReplay(t, j, 0)
		fr := randomFrame(rand.New(rand.NewPCG(1, 1)), 50)
		if err := appendWait(j, &fr); err != nil {
			t.Fatal(err)
		}
		durable := j.State().Durable
		if err := j.Close(clean); err != nil {
			t.Fatal(err)
		}
		before := image(t, f)
		c.NotBefore = durable + 8
		j = openJournal(t, c)
		if _, _, err := replay(j, 0); !errors.Is(err, dedup.ErrCorrupt) {
			t.Errorf("clean %v: it ends at %d, NotBefore is %d: %v", clean, durable, c.NotBefore, err)
		}
		_ = j.Close(false)
		if !bytes.Equal(before, image(t, f)) {
			t.Errorf("clean %v: a refused journal was changed", clean)
		}
		c.NotBefore = durable
		j = openJournal(t, c)
		if got, _ := mustReplay(t, j, 0); len(got) != 1 {
			t.Errorf("clean %v: %d frames, want 1", clean, len(got))
		}
		_ = j.Close(false)
	}
}

// TestJournalNewerVersion: nothing is touched.
func TestJournalNewerVersion(t *testing.T) {
	ring, _, _, _ := makeJournal(t, damageCases[0])
	for i := range 2 {
		b := ring[i*4096:][:4096]
		b[8] = 3
		binary.LittleEndian.PutUint32(b[4092:], crc32.Checksum(b[:4092], crc32.MakeTable(crc32.Castagnoli)))
	}
	m := mappedFS{"journal": {data: bytes.Clone(ring)}}
	if _, err := journal.Open(journal.Config{FS: m, Path: "journal"}); !errors.Is(err, dedup.ErrIncompatible) {
		t.Fatal(err)
	}
	if len(m) != 1 || !bytes.Equal(m["journal"].data, ring) {
		t.Fatal("something was changed")
	}
}

// TestJournalScan: it sees what Replay sees and leaves the files as they are.
func TestJournalScan(t *testing.T) {
	for _, d := range damageCases[:4] {
		ring, mark, live, from := makeJournal(t, d)
		m := mappedFS{"journal": {data: bytes.Clone(ring)}, "journal" + journal.MarkSuffix: {data: bytes.Clone(mark)}}
		for range 2 {
			j := openJournal(t, journal.Config{FS: m, Path: "journal", Sync: d.mode}.WithBoot(1))
			var got []journal.Frame
			r, err := j.Scan(from, func(f *journal.Frame) error {
				c := *f
				c.Payload = bytes.Clone(f.Payload)
				got = append(got, c)
				return nil
			})
			if err != nil || sameFrames(live, got) != nil || r.Clean != d.clean {
				t.Fatalf("%s: %+v, %v, %v", d.name, r, err, sameFrames(live, got))
			}
			if err := j.Reserve(t.Context(), 48); err == nil {
				t.Errorf("%s: Reserve after Scan", d.name)
			}
			if err := j.Close(true); err != nil {
				t.Error(err)
			}
		}
		if !bytes.Equal(m["journal"].data, ring) || !bytes.Equal(m["journal"+journal.MarkSuffix].data, mark) {
			t.Errorf("%s: Scan changed a file", d.name)
		}
	}
}
