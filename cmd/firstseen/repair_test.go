package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firstseen/firstseen/engine/inspect"
)

// TestRepair goes the way of somebody whose manifest is gone.
func TestRepair(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "seen")
	must(t, strings.NewReader("a\nb\n"), "filter", "--dir", dir)
	if out := must(t, nil, "repair", dir); !strings.Contains(out, "nothing to repair") {
		t.Fatalf("a sound directory: %s", out)
	}
	if err := os.Remove(filepath.Join(dir, "MANIFEST")); err != nil {
		t.Fatal(err)
	}
	f := func(code int, want string, args ...string) string {
		t.Helper()
		r := firstseen(t, strings.NewReader("a\n"), args...)
		if r.code != code || !strings.Contains(r.out+r.err, want) {
			t.Fatalf("firstseen %q: %+v, expected code %d and %q", args, r, code, want)
		}
		return r.out
	}
	f(1, "verify", "filter", "--dir", dir)
	f(1, "how long the window is", "repair", dir)
	f(1, "nothing was changed", "repair", dir, "--window", "24h") // no terminal to ask on
	if _, err := os.Stat(filepath.Join(dir, "damaged-1")); err == nil {
		t.Fatal("it moved something without being told to")
	}
	f(0, "only OnGap: Report opens", "repair", dir, "--window", "24h", "--yes")
	f(1, "known to be incomplete", "filter", "--dir", dir)
	var r inspect.Repaired
	out := f(0, "accepted", "repair", dir, "--yes", "--accept", "--json")
	if err := json.Unmarshal([]byte(out), &r); err != nil || !r.Done || !r.Accepted || len(r.Gaps) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	same(t, "after the loss was accepted", f(0, "", "filter", "--dir", dir), "a\n")
	f(0, "known gap", "verify", dir)
}

func TestSoak(t *testing.T) {
	out := must(t, nil, "soak", "--for", "3s", "--rate", "20000", "--seed", "5", "--in", t.TempDir())
	if !strings.Contains(out, "missed  0") || !strings.Contains(out, "errors  0") {
		t.Fatal(out)
	}
}
