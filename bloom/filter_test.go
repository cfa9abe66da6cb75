package bloom

import (
	"math"
	"strings"
	"testing"

	"github.com/firstseen/firstseen/internal/mem"
)

func TestNewNamesEveryProblem(t *testing.T) {
	f := func(kind Kind, c Config, want ...string) {
		t.Helper()
		filter, err := New(kind, c)
		if err == nil {
			filter.Close()
			t.Fatalf("New(%v, %+v) succeeded", kind, c)
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("error %q does not speak of %s", err, w)
			}
		}
	}
	f(Sliced, Config{}, "Keys", "BitsPerKey", "Generations")
	f(2, Config{Keys: 1, BitsPerKey: 24, Generations: 8}, "kind")
	f(Sliced, Config{Keys: 1, BitsPerKey: math.NaN(), Generations: 9, Hashes: 11}, "BitsPerKey", "Generations", "Hashes")
	f(Compact, Config{Keys: math.MaxUint64, BitsPerKey: 512, Generations: 1, Hashes: 33}, "Keys", "Generations", "Hashes")
	f(Compact, Config{Keys: 1, BitsPerKey: 513, Generations: 2, Hashes: -1}, "BitsPerKey", "Hashes")
}

func TestFilterSaysWhatItIs(t *testing.T) {
	eachKind(t, func(t *testing.T, kind Kind, generations int) {
		before := mem.InUse()
		c := Config{Keys: 1_000_000, BitsPerKey: 24, Generations: generations}
		f, err := New(kind, c)
		if err != nil {
			t.Fatal(err)
		}
		if f.Kind() != kind || f.Generations() != generations {
			t.Errorf("%v with %d generations", f.Kind(), f.Generations())
		}
		bits := float64(f.SlotBytes()*8*generations) / float64(c.Keys)
		if bits < 24 || bits > 24.1 {
			t.Errorf("%v bits per key in the columns, want 24", bits)
		}
		if want := bestHashes(kind, 24, generations); f.Hashes() != want {
			t.Errorf("%d hashes, want %d", f.Hashes(), want)
		}
		held := mem.InUse() - before
		if f.Bytes() < held || float64(f.Bytes()) > float64(held)*1.01 {
			t.Errorf("Bytes is %d, allocated are %d", f.Bytes(), held)
		}
		f.Close()
		if after := mem.InUse(); after != before {
			t.Errorf("Close kept %d bytes", after-before)
		}
	})
}

func TestKindText(t *testing.T) {
	for _, kind := range []Kind{Sliced, Compact} {
		text, err := kind.MarshalText()
		if err != nil || string(text) != kind.String() {
			t.Errorf("MarshalText of %v: %q, %v", kind, text, err)
		}
		var back Kind = 9
		if err := back.UnmarshalText(text); err != nil || back != kind {
			t.Errorf("UnmarshalText of %q: %v, %v", text, back, err)
		}
	}
	var k Kind
	if k.UnmarshalText([]byte("slice")) == nil {
		t.Error("UnmarshalText took an unknown name")
	}
	if _, err := Kind(2).MarshalText(); err == nil || Kind(2).String() != "kind(2)" {
		t.Error("an unknown kind has a text")
	}
}
