package sabotage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

const (
	envSabotage = "FIRSTSEEN_SABOTAGE"
	envRequire  = "FIRSTSEEN_REQUIRE_SERVERS"

	root = "../.." // of the module
)

// limit is how long a test may take to go red, all its repetitions together. The
// slowest starts a broker first and takes a minute on a busy machine.
const limit = 5 * time.Minute

// A fault is one mistake.
type fault struct {
	name   string
	breaks string // what goes wrong, and the invariant of DESIGN.md
	edits  []edit
	tests  []test // each of them has to notice
}

// An edit is wrong text for right text.
type edit struct {
	file     string
	old, new string // old stands in the file exactly once
}

// A test is one that has to go red.
type test struct {
	folder string // of its package
	name   string // with that of its subtest
	says   string // regular expression: what the output must have
	// tries is how often it runs until it is red; 0 is once. What a kill or a power
	// cut meets is the machine's matter, and a busy one may give it nothing to break.
	tries int
}

// TestSabotage takes minutes and is asked for: see the package's comment.
func TestSabotage(t *testing.T) {
	if os.Getenv(envSabotage) == "" {
		t.Skip("SKIPPED, it takes minutes: make sabotage")
	}
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: many of the tests need Linux")
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			t.Log(f.breaks)
			dir := t.TempDir()
			overlay := f.overlay(t, dir)
			binaries := map[string]string{}
			for _, red := range f.tests {
				t.Run(red.name, func(t *testing.T) {
					if binaries[red.folder] == "" {
						binaries[red.folder] = build(t, overlay, red.folder, filepath.Join(dir, fmt.Sprintf("%d.test", len(binaries))))
					}
					red.run(t, binaries[red.folder])
				})
			}
		})
	}
}

// overlay writes the broken files to dir, and what go build is told of them.
func (f *fault) overlay(t *testing.T, dir string) string {
	t.Helper()
	var o struct{ Replace map[string]string }
	o.Replace = map[string]string{}
	for path, content := range f.broken(t) {
		at, err := filepath.Abs(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		o.Replace[at] = filepath.Join(dir, strings.ReplaceAll(path, "/", "-"))
		if err := os.WriteFile(o.Replace[at], content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// broken returns the files of a fault with the wrong text in them.
func (f *fault) broken(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, e := range f.edits {
		content, err := files[e.file], error(nil)
		if content == nil {
			if content, err = os.ReadFile(filepath.Join(root, e.file)); err != nil {
				t.Fatal(err)
			}
		}
		if n := bytes.Count(content, []byte(e.old)); n != 1 {
			t.Fatalf("%s: %q is %d times in %s, and must be there once: move the fault to where the line went", f.name, e.old, n, e.file)
		}
		files[e.file] = bytes.Replace(content, []byte(e.old), []byte(e.new), 1)
	}
	return files
}

func build(t *testing.T, overlay, folder, binary string) string {
	t.Helper()
	cmd := exec.Command("go", "test", "-c", "-overlay", overlay, "-ldflags=-s -w", "-o", binary, "./"+folder)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("with the fault %s does not build: %v\n%s", folder, err, out)
	}
	return binary
}

// run runs the test in its own folder, as go test does, in its short form.
func (r *test) run(t *testing.T, binary string) {
	begun := time.Now()
	pattern := "^" + strings.ReplaceAll(strings.ReplaceAll(r.name, " ", "_"), "/", "$/^") + "$"
	ctx, cancel := context.WithTimeout(t.Context(), limit+time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-test.run", pattern, "-test.count", fmt.Sprint(max(1, r.tries)), "-test.failfast", "-test.v",
		"-test.timeout", limit.String())
	cmd.Dir = filepath.Join(root, r.folder)
	cmd.Env = append(os.Environ(), "FIRSTSEEN_FAULTS=", "FIRSTSEEN_FAULTS_JSON=", "FIRSTSEEN_SERVERS=")
	out, err := cmd.CombinedOutput()
	line, err := r.judge(string(out), err)
	switch {
	case errors.Is(err, errSkipped) && os.Getenv(envRequire) == "":
		t.Skip(line)
	case err != nil:
		t.Fatalf("%v\n%s", err, tail(out))
	}
	t.Logf("%s: red after %.1f s: %s", t.Name(), time.Since(begun).Seconds(), line)
}

var (
	errGreen   = errors.New("the test does not see the fault")
	errSkipped = errors.New("the test was skipped")
	errAbsent  = errors.New("there is no such test")
	errSlow    = errors.New("the time was up before the test was red")
	errDied    = errors.New("the test binary ended without a failed test")
	errOther   = errors.New("the test is red for another reason")
)

// judge returns the line that shows a test red for the right reason, or an error; of
// one that was skipped it returns why.
func (r *test) judge(out string, ended error) (line string, err error) {
	name := regexp.QuoteMeta(strings.ReplaceAll(r.name, " ", "_"))
	has := func(pattern string) bool {
		line = strings.TrimSpace(regexp.MustCompile(`(?m)^.*(` + pattern + `).*$`).FindString(out))
		return line != ""
	}
	var exit *exec.ExitError
	switch {
	case has(`^panic: test timed out`) || errors.Is(ended, context.DeadlineExceeded):
		return "", errSlow
	case has(`testing: warning: no tests to run`):
		return "", errAbsent
	case ended == nil && has(`SKIPPED.*`):
		return line, errSkipped
	case ended == nil:
		return "", errGreen
	case !errors.As(ended, &exit) || !has(`^ *--- FAIL: `+name+` `):
		return "", fmt.Errorf("%w: %w", errDied, ended)
	case !has(r.says):
		return "", fmt.Errorf("%w: nothing says %q", errOther, r.says)
	}
	return line, nil
}

// tail is the end of an output, where the reason stands.
func tail(out []byte) []byte {
	const most = 4000
	return out[max(0, len(out)-most):]
}

// TestTable: the table is not out of date. What it takes for the right text is there,
// the wrong text is Go, and there are tests of these names.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range faults {
		if seen[f.name] || f.breaks == "" || len(f.edits) == 0 || len(f.tests) == 0 {
			t.Errorf("%s is there twice, or breaks nothing, or has no test", f.name)
		}
		seen[f.name] = true
		for path, content := range f.broken(t) {
			if _, err := parser.ParseFile(token.NewFileSet(), path, content, parser.SkipObjectResolution); err != nil {
				t.Errorf("%s: %v", f.name, err)
			}
		}
		for _, r := range f.tests {
			top, _, _ := strings.Cut(r.name, "/")
			if !testsIn(t, r.folder)[top] {
				t.Errorf("%s: %s has no %s", f.name, r.folder, top)
			}
			if _, err := regexp.Compile(r.says); err != nil || r.says == "" {
				t.Errorf("%s: %s may say anything: %v", f.name, r.name, err)
			}
		}
	}
}

// testsIn returns the names of a package's test functions, on any system.
func testsIn(t *testing.T, folder string) map[string]bool {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				names[fn.Name.Name] = true
			}
		}
	}
	return names
}

func TestJudge(t *testing.T) {
	r := test{name: "TestX/a case", says: `\d keys are lost`}
	failed := exec.Command(os.Args[0], "-test.nosuchflag").Run()
	f := func(out string, ended, want error) {
		t.Helper()
		if _, err := r.judge(out, ended); !errors.Is(err, want) {
			t.Errorf("of %q, %v it says %v, want %v", out, ended, err, want)
		}
	}
	const red = "--- FAIL: TestX (0.1s)\n    --- FAIL: TestX/a_case (0.1s)\n"
	f(red+"    x_test.go:1: 3 keys are lost\nFAIL\n", failed, nil)
	f(red+"    x_test.go:1: connection refused\nFAIL\n", failed, errOther)
	f(red+"panic: test timed out after 5m0s\n3 keys are lost\n", failed, errSlow)
	f("3 keys are lost\n", failed, errDied)
	f(red+"3 keys are lost\n", errors.New("killed"), errDied)
	f("PASS\n", nil, errGreen)
	f("    x_test.go:1: SKIPPED, not shown here: there is no strace\nPASS\n", nil, errSkipped)
	f("testing: warning: no tests to run\nPASS\n", nil, errAbsent)
}
