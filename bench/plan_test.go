package bench

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestPlan(t *testing.T) {
	base := PlanConfig{Rate: 10_000, Window: 10_000 * time.Second, KeyBytes: 16, Duplicates: 0.006}
	p, err := NewPlan(base)
	if err != nil {
		t.Fatal(err)
	}
	if p.Keys < 99.39e6 || p.Keys > 99.41e6 {
		t.Errorf("%v keys in a window", p.Keys)
	}
	// The project's own targets for 100 M keys: 400 MB and 4 B per key of memory,
	// below 17 B per key on disk for the window and one generation.
	if p.Memory > 400e6+4*p.Keys {
		t.Errorf("%v bytes of memory", p.Memory)
	}
	if perKey := (p.Disk - p.Ring) / (p.Keys * 8 / 7); perKey < 14 || perKey > 17 {
		t.Errorf("%v bytes of disk per key", perKey)
	}
	if p.Maybe > 0.0101 {
		t.Errorf("rate of maybes %v", p.Maybe)
	}
	longer := base
	longer.KeyBytes = 36
	l, err := NewPlan(longer)
	if err != nil || l.Disk <= p.Disk || l.Cores <= p.Cores {
		t.Errorf("longer keys cost no more: %+v, %v", l, err)
	}
	repeated := base
	repeated.Duplicates = 0.5
	r, err := NewPlan(repeated)
	if err != nil || r.LookUps <= p.LookUps || r.Memory >= p.Memory {
		t.Errorf("half duplicates: %+v, %v", r, err)
	}
	var out bytes.Buffer
	if err := p.WriteText(&out); err != nil || !strings.Contains(out.String(), "Assumed:") {
		t.Errorf("%v:\n%s", err, out.String())
	}
}

func TestPlanNamesEveryProblem(t *testing.T) {
	_, err := NewPlan(PlanConfig{Duplicates: 2, MaybeRate: 3})
	if err == nil {
		t.Fatal("nothing was found wrong")
	}
	for _, want := range []string{"rate is 0", "window is 0", "key bytes are 0", "duplicates is 2", "maybes is 3"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
}
