package marks

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"testing"
	"time"
)

func TestRoundTrip(t *testing.T) {
	at := time.UnixMilli(1_790_000_000_123)
	f := func(keys ...string) {
		t.Helper()
		var in [][]byte
		for _, k := range keys {
			in = append(in, []byte(k))
		}
		record, n := Append([]byte("before"), at, in, 1<<20)
		if n != len(in) || !bytes.HasPrefix(record, []byte("before")) {
			t.Fatalf("%d of %d keys", n, len(in))
		}
		record = record[len("before"):]
		when, out, err := Decode([][]byte{[]byte("mine")}, record)
		if err != nil || !when.Equal(at) || len(out) != len(in)+1 {
			t.Fatalf("%v, %d keys, %v", when, len(out), err)
		}
		for i, k := range in {
			if !bytes.Equal(out[i+1], k) {
				t.Errorf("key %d is %q, want %q", i, out[i+1], k)
			}
		}
		for i := range record { // every bit counts
			bad := bytes.Clone(record)
			bad[i] ^= 1 << (i % 8)
			if _, out, err := Decode(nil, bad); !errors.Is(err, ErrRecord) || out != nil {
				t.Fatalf("byte %d changed: %v", i, err)
			}
		}
		for i := range record {
			if _, _, err := Decode(nil, record[:i]); !errors.Is(err, ErrRecord) {
				t.Fatalf("cut to %d: %v", i, err)
			}
		}
	}
	f()
	f("a")
	f("one", "three", "\x00\xff")
	f("0123456789abcdef", "fedcba9876543210")
	f(string(make([]byte, 65535)))
}

// TestAppendSplits: what does not fit one record goes into the next ones, whole
// and in order.
func TestAppendSplits(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var keys, got [][]byte
	for range 2000 {
		k := make([]byte, 1+rng.IntN(300))
		for i := range k {
			k[i] = byte(rng.Uint32())
		}
		keys = append(keys, k)
	}
	records := 0
	for rest := keys; len(rest) > 0; records++ {
		record, n := Append(nil, time.Now(), rest, 10_000)
		if n == 0 || len(record) > 10_000 {
			t.Fatalf("%d keys, %d bytes", n, len(record))
		}
		var err error
		if _, got, err = Decode(got, record); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if records < 30 || len(got) != len(keys) {
		t.Fatalf("%d records, %d keys", records, len(got))
	}
	for i := range keys {
		if !bytes.Equal(keys[i], got[i]) {
			t.Fatalf("key %d differs", i)
		}
	}
	if _, n := Append(nil, time.Now(), [][]byte{make([]byte, 5000), {1}}, 100); n != 1 {
		t.Errorf("a key longer than the limit: %d keys", n)
	}
}

func FuzzDecode(f *testing.F) {
	record, _ := Append(nil, time.UnixMilli(5), [][]byte{[]byte("a"), []byte("bc")}, 100)
	f.Add(record[:len(record)-sumBytes])
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 1<<16 {
			return
		}
		_, keys, err := Decode(nil, binary.BigEndian.AppendUint32(bytes.Clone(body), crc32.Checksum(body, castagnoli)))
		if err != nil && keys != nil {
			t.Fatal("keys and an error")
		}
		for _, k := range keys {
			if len(k) == 0 {
				t.Fatal("an empty key")
			}
		}
	})
}
