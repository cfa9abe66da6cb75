package main

import (
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
)

// TestFilterApproximate: no duplicate passes, few new records are taken for one, and a
// directory keeps its mode.
func TestFilterApproximate(t *testing.T) {
	const n = 50_000
	data := lines(3, n, 0.3, func(rng *rand.Rand, _ int) string { return string(randomHex(rng, 8)) + "\n" })
	exact := awk(t, data)
	dir := filepath.Join(t.TempDir(), "seen")
	path := write(t, data)
	for _, args := range [][]string{{}, {"--dir", dir}} {
		r := firstseen(t, nil, append([]string{"filter", "--approximate", path}, args...)...)
		if r.code != 0 || !strings.Contains(r.err, "are now taken for duplicates") {
			t.Fatalf("%s", r.err)
		}
		out := r.out
		seen := map[string]bool{}
		for line := range strings.Lines(out) {
			if seen[line] {
				t.Fatalf("%q passes twice", line)
			}
			seen[line] = true
		}
		want := strings.Count(exact, "\n")
		if lost := want - len(seen); lost < 0 || lost > want/100 {
			t.Fatalf("%q: %d of %d new records are taken for duplicates", args, lost, want)
		}
	}
	same(t, "a second run", must(t, nil, "filter", "--approximate", "--dir", dir, path), "")
	if r := firstseen(t, nil, "filter", "--dir", dir, path); r.code != 1 || !strings.Contains(r.err, "made with --approximate") {
		t.Fatalf("%+v", r)
	}
	keys := filled(t, "a\n")
	if r := firstseen(t, nil, "filter", "--approximate", "--dir", keys, path); r.code != 1 || !strings.Contains(r.err, "made without --approximate") {
		t.Fatalf("%+v", r)
	}
}
