package crc32c_test

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/firstseen/firstseen/internal/crc32c"
)

var table = crc32.MakeTable(crc32.Castagnoli)

// TestUpdate compares every length up to where the other code takes over, at every
// alignment, with hash/crc32.
func TestUpdate(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 1100)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	for n := 0; n <= len(data)-8; n++ {
		for at := range 8 {
			b, crc := data[at:at+n], rng.Uint32()
			if got, want := crc32c.Update(crc, b), crc32.Update(crc, table, b); got != want {
				t.Fatalf("%d bytes from %d on: %08x, want %08x", n, at, got, want)
			}
		}
	}
	if got, want := crc32c.Sum([]byte("123456789")), uint32(0xe3069283); got != want {
		t.Errorf("the check value is %08x, want %08x", got, want)
	}
}

func BenchmarkUpdate(b *testing.B) {
	for _, n := range []int{16, 20, 44, 240, 500, 1000} {
		data := make([]byte, n)
		b.Run(fmt.Sprintf("bytes=%d/own", n), func(b *testing.B) {
			for b.Loop() {
				crc32c.Update(1, data)
			}
		})
		b.Run(fmt.Sprintf("bytes=%d/std", n), func(b *testing.B) {
			for b.Loop() {
				crc32.Update(1, table, data)
			}
		})
	}
}
