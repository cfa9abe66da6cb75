package keys_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/oklog/ulid"

	"github.com/firstseen/firstseen/dedup/keys"
)

// TestJoinGolden pins the bytes: they are kept in guards.
func TestJoinGolden(t *testing.T) {
	f := func(want string, parts ...string) {
		t.Helper()
		if got := hex.EncodeToString(keys.Join(parts...)); got != want {
			t.Errorf("Join(%q) is %.80s, want %.80s", parts, got, want)
		}
	}
	f("")
	f("00", "")
	f("0161026263", "a", "bc")
	f("0261620163", "ab", "c")
	f("7f"+strings.Repeat("78", 127), strings.Repeat("x", 127))
	f("8001"+strings.Repeat("78", 128), strings.Repeat("x", 128))
}

func TestAppend(t *testing.T) {
	want := keys.Join("shop", "orders", "17")
	mixed := keys.Append(keys.Append([]byte(nil), "shop"), []byte("orders"), []byte("17"))
	if !bytes.Equal(mixed, want) {
		t.Errorf("%x, want %x", mixed, want)
	}
	buf, id := make([]byte, 0, 64), []byte("17")
	if n := testing.AllocsPerRun(100, func() {
		buf = keys.Append(buf[:0], "shop", "orders")
		buf = keys.Append(buf, id)
	}); n != 0 || !bytes.Equal(buf, want) {
		t.Errorf("%v allocations, %x", n, buf)
	}
}

func TestSplitRefused(t *testing.T) {
	f := func(in string) {
		t.Helper()
		b, err := hex.DecodeString(in)
		if err != nil {
			t.Fatal(err)
		}
		if parts, err := keys.Split(b); !errors.Is(err, keys.ErrParts) {
			t.Errorf("%s is split into %q, %v", in, parts, err)
		}
	}
	f("01")                   // its byte is missing
	f("016102")               // a second part's bytes are missing
	f("80")                   // the length is cut off
	f("8000")                 // a longer form of 0
	f("818000")               // a longer form of 1
	f("ffffffffffffffffff01") // the largest length
	f("ffffffffffffffffffff01")
}

// FuzzSplit: what can be split is the join of its parts, and a join can be split.
func FuzzSplit(f *testing.F) {
	f.Add(keys.Join("a", "bc"), "x", "")
	f.Add([]byte{0x80, 0}, strings.Repeat("y", 200), "z")
	f.Fuzz(func(t *testing.T, b []byte, p, q string) {
		if parts, err := keys.Split(b); err == nil && !bytes.Equal(keys.Join(parts...), b) {
			t.Errorf("%x is split into %x", b, parts)
		}
		parts, err := keys.Split(keys.Join(p, q))
		if err != nil || len(parts) != 2 || string(parts[0]) != p || string(parts[1]) != q {
			t.Errorf("%q, %q come back as %q, %v", p, q, parts, err)
		}
	})
}

func TestUUID(t *testing.T) {
	for _, text := range []string{"018f4a3e-7b2c-7d4e-9f10-0123456789ab", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "00000000-0000-0000-0000-000000000000"} {
		got, err := keys.UUID(text)
		if want := uuid.MustParse(text); err != nil || got != want {
			t.Errorf("%s: %x, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "018f4a3e7b2c7d4e9f100123456789ab", "{018f4a3e-7b2c-7d4e-9f10-0123456789a}", "018f4a3e-7b2c-7d4e-9f10-0123456789ag",
		"018f4a3e-7b2c-7d4e-9f1-00123456789ab", "018f4a3e_7b2c-7d4e-9f10-0123456789ab", "urn:uuid:018f4a3e-7b2c-7d4e-9f10-0123456789ab",
	} {
		if got, err := keys.UUID([]byte(text)); !errors.Is(err, keys.ErrID) || got != [16]byte{} {
			t.Errorf("%q: %x, %v", text, got, err)
		}
	}
}

func TestTimes(t *testing.T) {
	before := time.Now().Truncate(time.Millisecond)
	v7, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	// NewV7 may run ahead of the clock where many are made.
	if at, err := keys.UUIDTime(v7); err != nil || at.Before(before) || at.After(time.Now().Add(time.Second)) {
		t.Errorf("%v, %v, made after %v", at, err, before)
	}
	for _, text := range []string{"018f4a3e-7b2c-4d4e-9f10-0123456789ab", "018f4a3e-7b2c-7d4e-1f10-0123456789ab"} {
		if at, err := keys.UUIDTime(uuid.MustParse(text)); !errors.Is(err, keys.ErrID) {
			t.Errorf("%s: %v, %v", text, at, err)
		}
	}
	for _, ms := range []uint64{0, 1469918176385, 1<<48 - 1} {
		if at := keys.ULIDTime(ulid.MustNew(ms, zeros{})); at.UnixMilli() != int64(ms) {
			t.Errorf("%v, want %d ms", at, ms)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestULID(t *testing.T) {
	for _, text := range []string{"01AN4Z07BY79KA1307SR9X4MV3", "01an4z07by79ka1307sr9x4mv3", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "00000000000000000000000000"} {
		if got, err := keys.ULID(text); err != nil || got != ulid.MustParse(text) {
			t.Errorf("%s: %x, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "01AN4Z07BY79KA1307SR9X4MV", "81AN4Z07BY79KA1307SR9X4MV3", "01AN4Z07BY79KA1307SR9X4MVI", "01AN4Z07BY79KA1307SR9X4MVL",
		"01AN4Z07BY79KA1307SR9X4MVO", "01AN4Z07BY79KA1307SR9X4MVU", "01AN4Z07BY79KA1307SR9X4MV-", "01AN4Z07BY79KA1307SR9X4MV\xff",
	} {
		if got, err := keys.ULID(text); !errors.Is(err, keys.ErrID) || got != [16]byte{} {
			t.Errorf("%q: %x, %v", text, got, err)
		}
	}
}

// FuzzIDs compares with the libraries that make ids.
func FuzzIDs(f *testing.F) {
	f.Add("018f4a3e-7b2c-7d4e-9f10-0123456789ab")
	f.Add("01AN4Z07BY79KA1307SR9X4MV3")
	f.Add("7zzzzzzzzzzzzzzzzzzzzzzzzz")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := keys.UUID(text)
		want, wantErr := uuid.Parse(text)
		if len(text) == 36 && ((err == nil) != (wantErr == nil) || err == nil && id != want) {
			t.Errorf("%q is UUID %x, %v; want %x, %v", text, id, err, want, wantErr)
		}
		id, err = keys.ULID(text)
		wantULID, wantErr := ulid.ParseStrict(text)
		if (err == nil) != (wantErr == nil) || err == nil && id != wantULID {
			t.Errorf("%q is ULID %x, %v; want %x, %v", text, id, err, wantULID, wantErr)
		}
	})
}

// A tenant is a part of the key, so tenants never share one.
func ExampleJoin() {
	fmt.Printf("%q\n", keys.Join("tenant-1", "orders", "17"))
	fmt.Println(bytes.Equal(keys.Join("a", "bc"), keys.Join("ab", "c")))
	// Output:
	// "\btenant-1\x06orders\x0217"
	// false
}

// The scope is made once; the parts of each message are appended to it.
func ExampleAppend() {
	scope := keys.Join("tenant-1", "orders")
	key := make([]byte, 0, 64)
	for _, id := range []string{"17", "18"} {
		key = keys.Append(append(key[:0], scope...), id)
		fmt.Printf("%q\n", key)
	}
	// Output:
	// "\btenant-1\x06orders\x0217"
	// "\btenant-1\x06orders\x0218"
}

func ExampleSplit() {
	parts, err := keys.Split(keys.Join("tenant-1", "orders", "17"))
	fmt.Printf("%q %v\n", parts, err)
	_, err = keys.Split([]byte("order 17"))
	fmt.Println(err)
	// Output:
	// ["tenant-1" "orders" "17"] <nil>
	// keys: not a joined key: part at byte 0 has 7 bytes of 111
}

func ExampleUUID() {
	id, err := keys.UUID("018f4a3e-7b2c-7d4e-9f10-0123456789ab")
	if err != nil {
		fmt.Println(err)
		return
	}
	key := slices.Clone(id[:]) // or keys.Append(scope, id[:])
	at, err := keys.UUIDTime(id)
	fmt.Println(len(key), at.UTC().Format(time.RFC3339), err)
	// Output: 16 2024-05-05T19:32:39Z <nil>
}

func ExampleULID() {
	id, err := keys.ULID("01AN4Z07BY79KA1307SR9X4MV3")
	fmt.Println(keys.ULIDTime(id).UTC().Format(time.RFC3339Nano), err)
	// Output: 2016-06-13T13:25:20.894Z <nil>
}
