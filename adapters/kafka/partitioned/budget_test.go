package partitioned

import "testing"

// TestPartBudget: partitions share one budget, also the one that each engine would take.
func TestPartBudget(t *testing.T) {
	for _, c := range []struct{ budget, limit, partitions, want int64 }{
		{320 << 20, 24 << 30, 32, 10 << 20}, // as asked; the engine says that it is too small
		{0, 24 << 30, 32, 192 << 20},
		{0, 1 << 30, 32, leastBudget},
		{0, 0, 32, 0}, // nothing is known of the machine: the engine's default
	} {
		if got := partBudget(c.budget, c.limit, c.partitions); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}
