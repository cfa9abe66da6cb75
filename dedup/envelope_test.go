package dedup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

// TestEnvelopeGolden pins the bytes.
func TestEnvelopeGolden(t *testing.T) {
	f := func(e envelope, want string) {
		t.Helper()
		b := e.encode()
		if hex.EncodeToString(b) != want {
			t.Errorf("%+v is %x, want %s", e, b, want)
		}
		back, err := decodeEnvelope(b)
		if err != nil || back.final != e.final || back.printed != e.printed || back.hash != e.hash || !bytes.Equal(back.body, e.body) {
			t.Errorf("%s comes back as %+v, %v, want %+v", want, back, err, e)
		}
	}
	hash, text := sha256.Sum256([]byte("p")), "148de9c5a7a44d19e56cd9ae1a554bf67847afb0c58f6e12fa29ac7ddfca9940"
	f(envelope{}, "")
	f(envelope{body: []byte{7}}, "d10007")
	f(envelope{final: true}, "d101")
	f(envelope{final: true, body: []byte("no")}, "d1016e6f")
	f(envelope{printed: true, hash: hash}, "d102"+text)
	f(envelope{printed: true, hash: hash, body: []byte{0}}, "d102"+text+"00")
	f(envelope{printed: true, hash: hash, final: true, body: []byte("x")}, "d103"+text+"78")
}

func TestEnvelopeRefused(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		b, err := hex.DecodeString(in)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := decodeEnvelope(b); !errors.Is(err, errEnvelope) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is read as %+v, %v", in, e, err)
		}
	}
	f("d1", "1 bytes")
	f("d100", "empty")
	f("d201", "version is 0xd2")
	f("7b22", "version is 0x7b")
	f("d10401", "flags are 0x4")
	f("d18101", "flags are 0x81")
	f("d102"+strings.Repeat("00", 31), "fingerprint has 31 bytes")
}

func FuzzEnvelope(f *testing.F) {
	for _, e := range []envelope{{}, {body: []byte("r")}, {final: true}, {printed: true, final: true, body: []byte("r")}} {
		f.Add(e.encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEnvelope(b)
		if err != nil {
			return
		}
		if again := e.encode(); !bytes.Equal(again, b) {
			t.Errorf("%x is read, and written as %x", b, again)
		}
	})
}
