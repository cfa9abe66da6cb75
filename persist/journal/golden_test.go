package journal_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist/journal"
)

var update = flag.Bool("update-journal", false, "write testdata/journal.golden anew, which is a change of the format")

// goldens are the files that pin the format, one for each version of it. tail is where the
// last ten of their frames begin.
var goldens = []struct {
	file      string
	ring, max int64 // max 0: a ring that can't grow, version 1
	frames    int
	tail      journal.Pos
}{
	{"journal.golden", 4096, 0, 20, 808},
	{"journal-v2.golden", 4096, 12288, 40, 12640},
}

// goldenFrames are some of every kind.
func goldenFrames(n int) []journal.Frame {
	var frames []journal.Frame
	for i := range n {
		frames = append(frames, journal.Frame{
			Kind: uint8(1 + i%3), Form: uint8(i % 6), Shard: uint16(i * 17), Count: uint32(i),
			Generation: uint64(1 + i/7), Time: 1_700_000_000_000_000_000 + int64(i),
			Payload: bytes.Repeat([]byte{byte(i)}, (i%20)*(i%20)),
		})
	}
	return frames
}

// TestJournalGolden pins the format: a file of each version stays readable, and what
// is written now is byte for byte what was written then. That of version 2 was written
// around the end of its ring, which was made larger meanwhile.
func TestJournalGolden(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.file, func(t *testing.T) {
			path := filepath.Join("testdata", g.file)
			if *update {
				writeGolden(t, path, g.ring, g.max, g.frames)
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			golden, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
			if err != nil {
				t.Fatal(err)
			}
			again, salt, err := journal.ReencodeHeader(golden[:4096])
			if err != nil || !bytes.Equal(again, golden[:4096]) || !bytes.Equal(again, golden[4096:8192]) {
				t.Error("the header is encoded differently", err)
			}
			file := filepath.Join(t.TempDir(), "journal")
			if err := os.WriteFile(file, golden, 0o644); err != nil {
				t.Fatal(err)
			}
			j := openJournal(t, journal.Config{Path: file})
			got, r := mustReplay(t, j, g.tail)
			if !r.Clean || len(got) != 10 {
				t.Fatalf("%d frames, %+v", len(got), r)
			}
			want := goldenFrames(g.frames)[g.frames-10:]
			for i := range got {
				want[i].End = got[i].End
				at := journal.RingStart + int64(got[i].End-uint64(journal.FrameSpace(len(got[i].Payload))))%max(g.ring, g.max)
				head := golden[at:][:journal.FrameHeaderLen]
				if again := journal.ReencodeFrame(head, salt); !bytes.Equal(again, head) {
					t.Errorf("frame %d is encoded as %x, was %x", i, again, head)
				}
			}
			if err := sameFrames(want, got); err != nil {
				t.Error(err)
			}
		})
	}
}

// writeGolden writes a journal of n frames whose last ten are still needed. A ring that can
// grow is twice as large from the last but five on.
func writeGolden(t *testing.T, path string, ring, most int64, n int) {
	file := filepath.Join(t.TempDir(), "journal")
	j := openJournal(t, journal.Config{Path: file, RingBytes: ring, MaxRing: most}.WithBoot(7))
	mustReplay(t, j, 0)
	var ends []journal.Pos
	for i, f := range goldenFrames(n) {
		if i == n-5 && most > 0 {
			if err := j.Grow(2 * ring); err != nil {
				t.Fatal(err)
			}
		}
		if i >= 10 && i < n-5 {
			j.Release(ends[i-10])
		}
		if err := appendWait(j, &f); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, f.End)
	}
	j.Release(ends[n-11])
	t.Logf("the last ten frames begin at %d", ends[n-11])
	if err := j.Close(true); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for ; len(data) > 0; data = data[64:] {
		text.WriteString(hex.EncodeToString(data[:64]) + "\n")
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text.String()), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// FuzzFrameDecode: what decodes encodes to the same bytes, and nothing panics.
func FuzzFrameDecode(f *testing.F) {
	f.Add(make([]byte, 48), uint32(0))
	f.Add(bytes.Repeat([]byte{255}, 48), uint32(1))
	f.Fuzz(func(t *testing.T, b []byte, salt uint32) {
		if again := journal.ReencodeFrame(b, salt); again != nil && !bytes.Equal(again, b[:len(again)]) {
			t.Fatalf("%x was encoded again as %x", b, again)
		}
	})
}

// FuzzJournalReplay lets anything stand in the ring of a journal behind some
// sound frames: these are replayed, or damage is reported; nothing panics and no
// length is believed. Sums are made right, so that the checks behind them are
// reached.
func FuzzJournalReplay(f *testing.F) {
	m := mappedFS{}
	j := openJournal(f, journal.Config{FS: m, Path: "journal", RingBytes: 4096}.WithBoot(1))
	mustReplay(f, j, 0)
	var end journal.Pos
	for range 3 {
		fr := journal.Frame{Kind: 1, Payload: make([]byte, 40)}
		if err := appendWait(j, &fr); err != nil {
			f.Fatal(err)
		}
		end = fr.End
	}
	_ = j.Close(false)
	base := m["journal"].data
	_, salt, err := journal.ReencodeHeader(base[:4096])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(base[journal.RingStart:][:88], uint16(3))
	f.Add(bytes.Repeat([]byte{255, 0, 0, 0}, 30), uint16(0))
	f.Fuzz(func(t *testing.T, tail []byte, at uint16) {
		data := bytes.Clone(base)
		ring := data[journal.RingStart:]
		off := int(end) + int(at)%400*8
		copy(ring[min(off, len(ring)):], tail)
		for o := int(end); o+48 <= len(ring); o += 8 {
			if ring[o] != 0 {
				journal.Resum(ring[o:], uint64(o), salt)
				break
			}
		}
		j, err := journal.Open(journal.Config{FS: mappedFS{"journal": {data: data}}, Path: "journal"}.WithBoot(2))
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close(false)
		n := 0
		_, err = j.Replay(0, func(f *journal.Frame) error {
			if n++; n <= 3 && (len(f.Payload) != 40 || f.End != uint64(n)*88) {
				t.Fatalf("frame %d: %+v", n, f)
			}
			return nil
		})
		if err != nil && !errors.Is(err, dedup.ErrCorrupt) || err == nil && n < 3 {
			t.Fatal(n, err)
		}
	})
}
