package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestFilterTop: the most repeated keys with their repeats, as a table or in --stats.
func TestFilterTop(t *testing.T) {
	in := strings.Repeat("x,a\n", 4) + strings.Repeat("x,b\n", 7) + strings.Repeat(",c\n", 2) + "x,d\n,\n,\n"
	r := firstseen(t, strings.NewReader(in), "filter", "--key", "csv:1,2", "--top", "2")
	want := "REPEATS  TOO MANY BY AT MOST  KEY\n        6                    0  x\tb\n        3                    0  x\ta\n"
	if r.code != 0 || strings.Join(strings.Fields(r.err), " ") != strings.Join(strings.Fields(want), " ") {
		t.Fatalf("%+v, want %q", r, want)
	}
	r = firstseen(t, strings.NewReader(in), "filter", "--key", "csv:2", "--top", "9", "--stats")
	var stats filterStats
	if err := json.Unmarshal([]byte(r.err), &stats); err != nil {
		t.Fatal(err)
	}
	if want := []repeated{{"b", 6, 0}, {"a", 3, 0}, {"c", 1, 0}}; len(stats.Top) != 3 || [3]repeated(stats.Top) != [3]repeated(want) {
		t.Fatalf("got %v, want %v", stats.Top, want)
	}
	if r = firstseen(t, strings.NewReader("a\nb\n"), "filter", "--top", "3"); r.out != "a\nb\n" || r.err != "no key was repeated\n" {
		t.Fatalf("%+v", r)
	}
	for key, want := range map[string]string{"": `""`, "a\tb": "a\tb", "\x1b[31m": `"\x1b[31m"`, "\xff": `"\xff"`, "é": "é"} {
		if got := quoted(key); got != want {
			t.Fatalf("%q is shown as %s, want %s", key, got, want)
		}
	}
}
