package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firstseen/firstseen/engine"
	"github.com/firstseen/firstseen/engine/inspect"
)

// filled returns a directory that remembers the lines.
func filled(t *testing.T, lines string, args ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "seen")
	must(t, strings.NewReader(lines), append([]string{"filter", "--dir", dir}, args...)...)
	return dir
}

func TestContainsAndForget(t *testing.T) {
	dir := filled(t, "a\n\nlong "+strings.Repeat("x", 70_000)+"\n")
	contains := func(want string, args ...string) {
		t.Helper()
		r := firstseen(t, nil, append([]string{"contains", dir}, args...)...)
		if r.out != want+"\n" || r.err != "" || r.code != map[string]int{"yes": 0, "no": 1}[want] {
			t.Fatalf("contains %.20q: %+v, want %s", args, r, want)
		}
	}
	contains("yes", "a")
	contains("no", "b")
	contains("yes", "")
	contains("no", "\n")
	contains("yes", "long "+strings.Repeat("x", 70_000))
	contains("no", "long "+strings.Repeat("x", 70_001))
	contains("yes", "--hex", "61")
	contains("no", "--hex", "6161")

	if out := must(t, nil, "forget", dir, "a"); out != "forgotten\n" {
		t.Fatalf("forget gave %q", out)
	}
	if out := must(t, nil, "forget", dir, "a"); out != "not remembered\n" {
		t.Fatalf("forget again gave %q", out)
	}
	contains("no", "a")
	same(t, "after forget", must(t, strings.NewReader("a\nb\n\n"), "filter", "--dir", dir), "a\nb\n")
	contains("yes", "a")
}

// TestLocked: all commands say who has the directory.
func TestLocked(t *testing.T) {
	dir := filled(t, "a\n")
	e, err := engine.Open(dir, engine.Options{Window: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, args := range [][]string{{"inspect", dir}, {"verify", dir}, {"contains", dir, "a"}, {"forget", dir, "a"}, {"filter", "--dir", dir}} {
		r := firstseen(t, strings.NewReader("x\n"), args...)
		if r.code == 0 || r.out != "" || !strings.Contains(r.err, "another process") {
			t.Errorf("%q: %+v", args, r)
		}
	}
}

func TestInspect(t *testing.T) {
	dir := filled(t, "a\nb\nc\na\n", "--window", "24h")
	var in inspect.Inspection
	if err := json.Unmarshal([]byte(must(t, nil, "inspect", "--json", dir)), &in); err != nil {
		t.Fatal(err)
	}
	if in.Keys != 3 || in.Window != 24*time.Hour {
		t.Fatalf("got %+v", in)
	}
	view := must(t, nil, "inspect", dir)
	for _, want := range []string{"window", "24h", "keys", "journal", "GENERATION", "FILTER FILL", "["} {
		if !strings.Contains(view, want) {
			t.Errorf("no %q in:\n%s", want, view)
		}
	}
}

// TestUnfinishedDirectory: a run that was killed while it made its directory
// costs nothing, and files of others are never mixed with ours.
func TestUnfinishedDirectory(t *testing.T) {
	f := func(wantErr string, names ...string) {
		t.Helper()
		dir := t.TempDir()
		for _, name := range names {
			var content []byte
			if name == "CREATING" {
				content = []byte("firstseen: this directory is being made\n")
			}
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r := firstseen(t, strings.NewReader("a\na\n"), "filter", "--dir", dir)
		if wantErr == "" && (r.code != 0 || r.out != "a\n") || wantErr != "" && (r.code != 1 || r.out != "" || !strings.Contains(r.err, wantErr)) {
			t.Errorf("with %q: %+v", names, r)
		}
	}
	f("")
	f("", "LOCK")
	f("", "LOCK", "CREATING.tmp")
	f("", "LOCK", "CREATING")
	f("", "LOCK", "CREATING", "MANIFEST")
	f("", "LOCK", "CREATING", "MANIFEST", "IDENTITY", "journal")
	f("verify", "LOCK", "IDENTITY")
	f("verify", "LOCK", "MANIFEST")
	f("no firstseen directory", "LOCK", "journal")
	f("other files, such as letter.txt", "letter.txt")
	f("other files, such as letter.txt", "LOCK", "letter.txt")
}

// TestWindowStays: an existing directory keeps its window until told otherwise.
func TestWindowStays(t *testing.T) {
	dir := filled(t, "a\n", "--window", "7d")
	window := func(want time.Duration) {
		t.Helper()
		var in inspect.Inspection
		if err := json.Unmarshal([]byte(must(t, nil, "inspect", "--json", dir)), &in); err != nil {
			t.Fatal(err)
		}
		if in.Window != want {
			t.Fatalf("the window is %v, want %v", in.Window, want)
		}
	}
	window(7 * 24 * time.Hour)
	must(t, strings.NewReader("b\n"), "filter", "--dir", dir)
	must(t, nil, "contains", dir, "b")
	window(7 * 24 * time.Hour)
	must(t, strings.NewReader("c\n"), "filter", "--dir", dir, "--window", "8d")
	window(8 * 24 * time.Hour)
}

func TestVerify(t *testing.T) {
	var text strings.Builder
	in, _ := distinct(t, 20_000)
	text.Write(in)
	dir := filled(t, text.String())
	if out := must(t, nil, "verify", dir); !strings.Contains(out, "sound") {
		t.Fatalf("verify gave %q", out)
	}
	var v inspect.Verification
	if err := json.Unmarshal([]byte(must(t, nil, "verify", "--json", dir)), &v); err != nil || len(v.Damages) != 0 || v.Files == 0 {
		t.Fatalf("got %+v, %v", v, err)
	}

	// The directory without its largest file: whatever that is, it is missed.
	var largest string
	var most int64
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil && info.Size() > most {
				largest, most = path, info.Size()
			}
		}
		return err
	})
	if err := os.Truncate(largest, most/2); err != nil {
		t.Fatal(err)
	}
	r := firstseen(t, nil, "verify", dir)
	if r.code != 1 || strings.Contains(r.out, "sound") || !strings.Contains(r.out+r.err, filepath.Base(largest)) {
		t.Fatalf("with half of %s gone: %+v", largest, r)
	}
}
