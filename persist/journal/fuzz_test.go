package journal

import (
	"encoding/binary"
	"testing"

	"github.com/firstseen/firstseen/internal/crc32c"
)

func FuzzDecodeJournalHeader(f *testing.F) {
	h := journalHeader{ring: minRing, start: 8, epoch: 2, epochStart: 16, cleanEnd: 24, sequence: 5, clean: true, id: [16]byte{6}, boot: [16]byte{7}, risk: 8}
	f.Add(h.encode()[:4092])
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4092 {
			return
		}
		b := make([]byte, headerLen)
		copy(b, data)
		binary.LittleEndian.PutUint32(b[4092:], crc32c.Sum(b[:4092]))
		h, err := decodeJournalHeader(b)
		if err != nil {
			return
		}
		if again, err := decodeJournalHeader(h.encode()); err != nil || again != h {
			t.Fatalf("%+v encodes as %+v, %v", h, again, err)
		}
	})
}

func FuzzParseNote(f *testing.F) {
	var b [markNoteLen]byte
	markNote{durable: 1, written: 2, epoch: 3}.put(b[:], 4)
	f.Add(b[:], uint32(4))
	f.Fuzz(func(t *testing.T, data []byte, salt uint32) {
		if len(data) < markNoteLen {
			return
		}
		n, ok := parseNote(data, salt)
		if !ok {
			return
		}
		var again [markNoteLen]byte
		n.put(again[:], salt)
		if string(again[:]) != string(data[:markNoteLen]) {
			t.Fatalf("%+v is put as %x, was %x", n, again, data[:markNoteLen])
		}
	})
}
