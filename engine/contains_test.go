package engine

import (
	"errors"
	"testing"

	"github.com/firstseen/firstseen/dedup"
)

// TestContainsBatch: a call of many parts tells marked keys from others, in memory and in
// runs, marks nothing, and answers beside keys that can't be.
func TestContainsBatch(t *testing.T) {
	for name, mode := range map[string]Mode{"exact": Exact, "approximate": Approximate} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(newFakeClock())
			o.Mode, o.Capacity = mode, 200_000
			e := mustOpen(t, t.TempDir(), o)
			const n = 6000
			admitAll(t, e, intKeys(0, n), dedup.Fresh)
			if mode == Exact {
				flushAll(t, e)
			}
			admitAll(t, e, intKeys(n, n), dedup.Fresh)
			asked := intKeys(0, 3*n)
			asked[7] = nil
			for range 2 { // the first call marks nothing
				vs, err := e.ContainsBatch(ctx, []dedup.Verdict{dedup.InFlight}, asked)
				var bad *dedup.KeyError
				if !errors.As(err, &bad) || bad.Index != 7 || len(vs) != 1+3*n || vs[0] != dedup.InFlight {
					t.Fatalf("%d answers, %v", len(vs), err)
				}
				wrong := 0
				for i, v := range vs[1:] {
					want := dedup.Duplicate
					if i >= 2*n {
						want = dedup.Fresh
					}
					if i == 7 {
						want = dedup.Unknown
					}
					switch {
					case v == want:
					case mode == Approximate && want == dedup.Fresh && v == dedup.Duplicate:
						wrong++
					default:
						t.Fatalf("key %d: %v, want %v", i, v, want)
					}
				}
				if wrong > n/20 {
					t.Errorf("%d of %d keys are taken for marked", wrong, n)
				}
			}
			mustClose(t, e)
			if vs, err := e.ContainsBatch(ctx, nil, asked[:3]); !errors.Is(err, dedup.ErrClosed) || len(vs) != 3 || vs[0] != dedup.Unknown {
				t.Errorf("after Close: %v, %v", vs, err)
			}
		})
	}
}
