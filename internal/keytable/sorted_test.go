package keytable

import (
	"slices"
	"testing"
)

// TestSort7: a network that sorts all zeroes and ones sorts everything.
func TestSort7(t *testing.T) {
	for bits := range uint32(1 << 7) {
		var v [7]uint32
		for i := range v {
			v[i] = bits >> i & 1
		}
		want := slices.Sorted(slices.Values(v[:]))
		var got [7]uint32
		got[0], got[1], got[2], got[3], got[4], got[5], got[6] = sort7(v[0], v[1], v[2], v[3], v[4], v[5], v[6])
		if !slices.Equal(got[:], want) {
			t.Errorf("%v becomes %v", v, got)
		}
	}
}
