package idem

import (
	"bytes"
	"testing"
)

func TestRecordRoundTrip(t *testing.T) {
	f := func(s State, payload string) {
		t.Helper()
		fingerprint := Fingerprint{1, 2, 255}
		r, err := DecodeRecord(append(AppendHead(nil, s, fingerprint), payload...))
		if err != nil || r.State != s || r.Fingerprint != fingerprint || string(r.Payload) != payload {
			t.Errorf("%v %q came back as %+v, %v", s, payload, r, err)
		}
	}
	f(Stored, "")
	f(Stored, "an answer")
	f(Streamed, "")
	f(TooLarge, "")
	f(Settled, "")
}

// FuzzDecodeRecord: whatever lies in a store is refused, or is written again as it
// was read.
func FuzzDecodeRecord(f *testing.F) {
	f.Add(append(AppendHead(nil, Stored, Fingerprint{9}), "payload"...))
	f.Add(append(AppendHead(nil, Streamed, Fingerprint{}), 0))
	f.Add([]byte{1, 9})
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeRecord(data)
		if err != nil {
			return
		}
		if again := append(AppendHead(nil, r.State, r.Fingerprint), r.Payload...); !bytes.Equal(again, data) || r.State > Settled {
			t.Fatalf("%x is read as %+v", data, r)
		}
	})
}

// TestFingerprint: no two lists of parts and bodies meet, whether they are hashed
// in one piece or not.
func TestFingerprint(t *testing.T) {
	long := string(bytes.Repeat([]byte("b"), 600))
	seen := map[Fingerprint]string{}
	for _, c := range [][]string{
		{"", "a", "b"}, {"", "ab", ""}, {"", "", "ab"}, {"b", "a"}, {"", "a\x00b"}, {"ab"},
		{long, "a"}, {"a", long}, {long + "a"}, {"", long, "a"}, {"", long + "a"},
	} {
		got := FingerprintOf([]byte(c[0]), c[1:]...)
		if before, ok := seen[got]; ok {
			t.Errorf("%.20q and %.20s have the same fingerprint", c, before)
		}
		seen[got] = c[0]
		if got != FingerprintOf([]byte(c[0]), c[1:]...) {
			t.Errorf("%.20q has two fingerprints", c)
		}
	}
}
