package mem

import (
	"testing"
	"unsafe"
)

// Sizes on both sides of every limit in the code.
var sizes = []int{0, 1, 8, 100, smallLimit - 8, smallLimit, smallLimit + 1, 1 << 20, 2<<20 - 8, 2 << 20, 2<<20 + 1, 5<<20 + 12345}

func TestAllocIsZeroedAlignedAndWritable(t *testing.T) {
	for _, size := range sizes {
		r := alloc(t, size)
		words, bytes := r.Uint64s(), r.Bytes()
		if want := (size + 7) &^ 7; len(bytes) != want || len(words)*8 != want {
			t.Errorf("Alloc(%d): %d bytes and %d words, want %d bytes", size, len(bytes), len(words), want)
		}
		if at := uintptr(unsafe.Pointer(unsafe.SliceData(words))); at%lineBytes != 0 {
			t.Errorf("Alloc(%d) starts at %#x, not on a line", size, at)
		}
		for i, w := range words {
			if w != 0 {
				t.Fatalf("Alloc(%d): word %d is %#x", size, i, w)
			}
			words[i] = uint64(i) + 1
		}
		if len(bytes) > 0 && words[len(words)-1] != uint64(len(words)) {
			t.Errorf("Alloc(%d): the last word was lost", size)
		}
		r.Free()
	}
}

func TestAllocRefusesImpossibleSizes(t *testing.T) {
	for _, size := range []int{-1, maxBytes + 1} {
		if r, err := Alloc(size); err == nil {
			r.Free()
			t.Errorf("Alloc(%d) succeeded", size)
		}
	}
}

func TestTouchKeepsContent(t *testing.T) {
	for _, size := range sizes {
		r := alloc(t, size)
		words := r.Uint64s()
		for i := range words {
			words[i] = ^uint64(i)
		}
		r.Touch()
		for i, w := range words {
			if w != ^uint64(i) {
				t.Fatalf("size %d: word %d is %#x after Touch", size, i, w)
			}
		}
		r.Free()
	}
}

func TestInUseCountsUntilFree(t *testing.T) {
	before := InUse()
	a, b := alloc(t, 1000), alloc(t, 3<<20)
	if got := InUse() - before; got != 1000+3<<20 {
		t.Errorf("InUse grew by %d, want %d", got, 1000+3<<20)
	}
	a.Free()
	a.Free()
	if got := InUse() - before; got != 3<<20 {
		t.Errorf("InUse is %d above the start, want %d", got, 3<<20)
	}
	b.Free()
	if got := InUse(); got != before {
		t.Errorf("InUse is %d, want %d", got, before)
	}
}

func alloc(t *testing.T, size int) *Region {
	t.Helper()
	r, err := Alloc(size)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
