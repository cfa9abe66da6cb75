package dedup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
)

func TestVerdictText(t *testing.T) {
	f := func(v Verdict, want string) {
		t.Helper()
		if v.String() != want {
			t.Errorf("Verdict(%d) is %q, want %q", uint8(v), v, want)
		}
		text, err := v.MarshalText()
		if err != nil || string(text) != want {
			t.Errorf("%v marshals as %q, %v", v, text, err)
		}
		back := Verdict(99)
		if err := back.UnmarshalText(text); err != nil || back != v {
			t.Errorf("%q comes back as %v, %v", text, back, err)
		}
		data, err := json.Marshal(map[string]Verdict{"v": v})
		if want := fmt.Sprintf(`{"v":%q}`, want); err != nil || string(data) != want {
			t.Errorf("in JSON: %s, %v, want %s", data, err, want)
		}
	}
	f(Unknown, "unknown")
	f(Fresh, "fresh")
	f(Duplicate, "duplicate")
	f(InFlight, "in-flight")
	var zero Verdict
	if zero != Unknown {
		t.Errorf("the zero verdict is %v: a forgotten answer must not look like one", zero)
	}
}

func TestVerdictTextBad(t *testing.T) {
	if got := Verdict(17).String(); got != "verdict(17)" {
		t.Errorf("Verdict(17) is %q", got)
	}
	if _, err := Verdict(17).MarshalText(); err == nil {
		t.Error("Verdict(17) marshals")
	}
	for _, text := range []string{"", "Fresh", "fresh ", "inflight", "4"} {
		v := Duplicate
		if err := v.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as %v", text, v)
		}
		if v != Duplicate {
			t.Errorf("%q changed the verdict to %v in spite of its error", text, v)
		}
	}
}

func TestKeyError(t *testing.T) {
	err := fmt.Errorf("admit: %w", errors.Join(&KeyError{Index: 3, Len: 0}, &KeyError{Index: 9, Len: 65536}))
	if !errors.Is(err, ErrKeyInvalid) || errors.Is(err, ErrCorrupt) {
		t.Errorf("%v", err)
	}
	var k *KeyError
	if !errors.As(err, &k) || k.Index != 3 || k.Len != 0 {
		t.Errorf("the first key error is %+v", k)
	}
	for _, part := range []string{"key 3 ", "key 9 ", "65536 bytes", "1 to 65535"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q doesn't say %q", err, part)
		}
	}
}

func TestCorruptError(t *testing.T) {
	err := fmt.Errorf("open: %w", &CorruptError{File: "dir/manifest", Offset: 42, Detail: "wrong checksum"})
	if !errors.Is(err, ErrCorrupt) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	var c *CorruptError
	if !errors.As(err, &c) || c.File != "dir/manifest" || c.Offset != 42 {
		t.Errorf("%+v", c)
	}
	if got, want := c.Error(), "dedup: corrupt: dir/manifest at byte 42: wrong checksum"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	c.Offset = -1
	if got, want := c.Error(), "dedup: corrupt: dir/manifest: wrong checksum"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestSentinels: no two of them are the same to errors.Is, and each says where
// it comes from.
func TestSentinels(t *testing.T) {
	all := []error{ErrKeyInvalid, ErrLeaseLost, ErrResultTooLarge, ErrResultLost, ErrUnsupported, ErrClosed, ErrFailed, ErrDiskFull, ErrLocked, ErrIncompatible, ErrCorrupt}
	for i, a := range all {
		if !strings.HasPrefix(a.Error(), "dedup: ") {
			t.Errorf("%q has no prefix", a)
		}
		for j, b := range all {
			if errors.Is(a, b) != (i == j) {
				t.Errorf("errors.Is(%v, %v) is %v", a, b, i != j)
			}
		}
	}
}

func TestToken(t *testing.T) {
	if got := (Token{1, 0xab}).String(); got != "01ab"+strings.Repeat("00", 14) {
		t.Errorf("%q", got)
	}
}

func TestIndexesOf(t *testing.T) {
	f := func(err, target error, want ...int) {
		t.Helper()
		if got := IndexesOf(err, target); !slices.Equal(got, want) {
			t.Errorf("IndexesOf(%v, %v) is %v, want %v", err, target, got, want)
		}
	}
	lost := errors.Join(&LeaseError{Index: 4}, &LeaseError{Index: 2})
	mixed := fmt.Errorf("commit: %w", errors.Join(fmt.Errorf("store: %w", lost), &ResultError{Index: 7, Err: ErrResultTooLarge}))
	f(nil, ErrLeaseLost)
	f(ErrLeaseLost, ErrLeaseLost) // no position is known
	f(mixed, ErrLeaseLost, 4, 2)
	f(mixed, ErrResultTooLarge, 7)
	f(mixed, ErrResultLost)
	f(&KeyError{Index: 3}, ErrKeyInvalid, 3)
}
