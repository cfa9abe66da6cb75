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

// goldenFrames are the frames of testdata/journal.golden: some of every kind,
// around the ring's end.
func goldenFrames() []journal.Frame {
	var frames []journal.Frame
	for i := range 20 {
		frames = append(frames, journal.Frame{
			Kind: uint8(1 + i%3), Form: uint8(i % 6), Shard: uint16(i * 17), Count: uint32(i),
			Generation: uint64(1 + i/7), Time: 1_700_000_000_000_000_000 + int64(i),
			Payload: bytes.Repeat([]byte{byte(i)}, i*i),
		})
	}
	return frames
}

// TestJournalGolden pins the format: a file of version 1 stays readable, and what
// is written now is byte for byte what was written then.
func TestJournalGolden(t *testing.T) {
	path := filepath.Join("testdata", "journal.golden")
	if *update {
		writeGolden(t, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	golden, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	golden = append(golden, make([]byte, journal.RingStart+4096-len(golden))...)
	again, salt, err := journal.ReencodeHeader(golden[:4096])
	if err != nil || !bytes.Equal(again, golden[:4096]) || !bytes.Equal(again, golden[4096:8192]) {
		t.Error("the header is encoded differently", err)
	}
	j := openJournal(t, journal.Config{FS: mappedFS{"journal": {data: bytes.Clone(golden)}}, Path: "journal"})
	want := goldenFrames()
	var from journal.Pos
	for i := range want[:10] {
		from += uint64(journal.FrameSpace(len(want[i].Payload)))
	}
	got, r := mustReplay(t, j, from)
	if !r.Clean || len(got) != 10 {
		t.Fatalf("%d frames, %+v", len(got), r)
	}
	for i := range got {
		want[10+i].End = got[i].End
		at := journal.RingStart + int(got[i].End-uint64(journal.FrameSpace(len(got[i].Payload))))%4096
		head := golden[at:][:journal.FrameHeaderLen]
		if again := journal.ReencodeFrame(head, salt); !bytes.Equal(again, head) {
			t.Errorf("frame %d is encoded as %x, was %x", i, again, head)
		}
	}
	if err := sameFrames(want[10:], got); err != nil {
		t.Error(err)
	}
}

func writeGolden(t *testing.T, path string) {
	m := mappedFS{}
	j := openJournal(t, journal.Config{FS: m, Path: "journal", RingBytes: 4096}.WithBoot(7))
	mustReplay(t, j, 0)
	for i, f := range goldenFrames() {
		if err := appendWait(j, &f); err != nil {
			t.Fatal(err)
		}
		if i < 10 {
			j.Release(f.End)
		}
	}
	if err := j.Close(true); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for data := m["journal"].data; len(data) > 0; data = data[64:] {
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
