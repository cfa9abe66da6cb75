package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firstseen/firstseen/engine"
)

// TestKind: a directory takes keys of its own kind only, whatever happens to be equal.
func TestKind(t *testing.T) {
	dir := filled(t, "{\"id\":7}\n", "--key", "json:id")
	refused := func(args ...string) {
		t.Helper()
		r := firstseen(t, strings.NewReader("7\n"), append([]string{"filter", "--dir", dir}, args...)...)
		if r.code != 1 || r.out != "" || !strings.Contains(r.err, "another kind: --key json:id, not --key") || !strings.Contains(r.err, "--force") {
			t.Fatalf("%q: %+v", args, r)
		}
	}
	refused()
	refused("--key", "csv:1")
	refused("--key", "csv:1", "--delimiter", ";")
	refused("--key", "json:id", "-i")
	refused("--key", "json:id", "--trim")
	refused("--key", "json:id", "--skip", "1")
	refused("--key", "json:id,x")
	same(t, "the same kind", must(t, strings.NewReader("{\"id\":\"7\"}\n{\"id\":8}\n"), "filter", "--dir", dir, "--key", "json:id"), "{\"id\":8}\n")
	same(t, "with --force", must(t, strings.NewReader("7\n9\n"), "filter", "--dir", dir, "--key", "csv:1", "--force"), "9\n")
	same(t, "which is noted", must(t, strings.NewReader("7\n10\n"), "filter", "--dir", dir, "--key", "csv:1"), "10\n")

	// One of another program's takes the first kind.
	dir = filepath.Join(t.TempDir(), "seen")
	e, err := engine.Open(dir, engine.Options{Window: time.Hour, MinFreeDisk: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Admit(t.Context(), []byte("a")); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	same(t, "of another program", must(t, strings.NewReader("a\nb\n"), "filter", "--dir", dir), "b\n")
	refused = func(args ...string) {
		t.Helper()
		if r := firstseen(t, strings.NewReader("c\n"), append([]string{"filter", "--dir", dir}, args...)...); r.code != 1 || r.out != "" {
			t.Fatalf("%q: %+v", args, r)
		}
	}
	refused("--key", "tsv:1")
	if out := must(t, nil, "verify", dir); !strings.Contains(out, "sound") {
		t.Fatalf("with the note: %s", out)
	}

	// A note that can't be read is no reason to guess.
	if err := os.WriteFile(filepath.Join(dir, kindName), []byte("{\"key\":\"lines\"}"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused()
	// What is left of a run that was killed while it wrote the note.
	if err := os.Rename(filepath.Join(dir, kindName), filepath.Join(dir, kindName+".tmp")); err != nil {
		t.Fatal(err)
	}
	same(t, "a note that was not finished", must(t, strings.NewReader("a\nc\n"), "filter", "--dir", dir), "c\n")
}
