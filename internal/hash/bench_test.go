package hash

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// BenchmarkSum: ns for each key, beside xxhash64 of the same bytes.
func BenchmarkSum(b *testing.B) {
	keys := []struct {
		form string
		key  []byte
	}{
		{"raw16", []byte("0123456789abcdef")},
		{"uuid", []byte("f81d4fae-7dec-11d0-a765-00a0c91e6bf6")},
		{"ulid", []byte("01ARZ3NDEKTSV4RRFFQ69G5FAV")},
		{"bytes", []byte("customer/0000001/order/000000001")},
		{"digest", bytes.Repeat([]byte("0123456789abcdef"), 32)},
	}
	for _, k := range keys {
		for _, untrusted := range []bool{false, true} {
			b.Run(fmt.Sprintf("form=%s/untrusted=%v", k.form, untrusted), func(b *testing.B) {
				h := New(testSeed(1), untrusted)
				var digest [DigestLen]byte
				var all uint64
				b.ReportAllocs()
				for b.Loop() {
					all += h.Sum(k.key, &digest).Hi
				}
				sink = all
			})
		}
		b.Run("form="+k.form+"/baseline=xxhash64", func(b *testing.B) {
			var all uint64
			for b.Loop() {
				all += xxhash.Sum64(k.key)
			}
			sink = all
		})
	}
}

var sink uint64
