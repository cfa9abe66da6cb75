package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// asCommand makes the test binary the command: what the tests start is then
// built like they are, with the race detector too.
const asCommand = "FIRSTSEEN_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

// command returns the command with args, not yet started.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), asCommand+"=1", "TMPDIR="+t.TempDir())
	return cmd
}

// result is what a finished command left.
type result struct {
	out, err string
	code     int
}

// firstseen runs the command with stdin to its end.
func firstseen(t *testing.T, stdin io.Reader, args ...string) result {
	t.Helper()
	cmd := command(t, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	code := exitCode(t, cmd.Run())
	return result{out.String(), errs.String(), code}
}

// must is firstseen for a run that has to succeed.
func must(t *testing.T, stdin io.Reader, args ...string) string {
	t.Helper()
	r := firstseen(t, stdin, args...)
	if r.code != 0 {
		t.Fatalf("firstseen %q: exit code %d\n%s", args, r.code, r.err)
	}
	return r.out
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit != nil {
		return exit.ExitCode()
	}
	return 0
}

// write makes a file in a new directory and returns its path.
func write(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// same fails the test when two outputs differ, and shows where.
func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	t.Fatalf("%s: %d bytes, want %d; from byte %d:\n got %.80q\nwant %.80q", what, len(got), len(want), i, got[i:], want[i:])
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	f := func(code int, inStderr string, args ...string) {
		t.Helper()
		r := firstseen(t, strings.NewReader("a\n"), args...)
		if r.code != code || r.out != "" || !strings.Contains(r.err, inStderr) {
			t.Errorf("firstseen %q: exit code %d, want %d; stdout %q; stderr %q, want %q in it", args, r.code, code, r.out, r.err, inStderr)
		}
	}
	f(2, "Usage:")
	f(2, `no command "nonsense"`, "nonsense")
	f(2, "--nonsense", "filter", "--nonsense")
	f(2, "no kind of key", "filter", "--key", "word")
	f(2, "no column", "filter", "--key", "csv:0")
	f(2, "above zero", "filter", "--window", "-1h")
	f(2, "above zero", "filter", "--window", "soon")
	f(2, "pass, drop, fail", "filter", "--missing", "ignore")
	f(2, "always, interval, none", "filter", "--sync", "maybe")
	f(2, "--capacity", "filter", "--capacity", "-1")
	f(2, "needs DIR", "inspect")
	f(2, "needs KEY", "contains", dir)
	f(2, "no further argument", "verify", dir, "more")
	f(2, "hexadecimal", "contains", "--hex", dir, "abc")
	f(2, "hexadecimal", "forget", "--hex", dir, "xy")

	nowhere := filepath.Join(dir, "nowhere")
	f(1, "does not exist", "inspect", nowhere)
	f(1, "does not exist", "verify", nowhere)
	f(1, "does not exist", "forget", nowhere, "key")
	f(2, "does not exist", "contains", nowhere, "key") // neither yes nor no
	if _, err := os.Stat(nowhere); err == nil {
		t.Error("a command made a directory that did not exist")
	}
	f(1, "no such file", "filter", nowhere)
	f(1, "is a directory", "filter", dir)
	file := write(t, []byte("x\n"))
	f(1, "no directory", "inspect", file)
	f(1, "can't be read", "filter", "--dir", file)
	f(2, "also an input", "filter", "--duplicates", file, file)
	if data, err := os.ReadFile(file); err != nil || string(data) != "x\n" {
		t.Errorf("the input was changed to %q, %v", data, err)
	}
}

func TestHelpAndVersion(t *testing.T) {
	if out := must(t, nil, "--version"); !strings.HasPrefix(out, "firstseen ") || strings.Count(out, "\n") != 1 {
		t.Errorf("--version gave %q", out)
	}
	for _, args := range [][]string{{"--help"}, {"help", "filter"}, {"contains", "--help"}} {
		if out := must(t, nil, args...); !strings.Contains(out, "Usage:") {
			t.Errorf("%q gave %q", args, out)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out := must(t, nil, "completion", shell); !strings.Contains(out, "firstseen") {
			t.Errorf("completion %s gave %.80q", shell, out)
		}
	}
}

// TestFilterOntoItself: the output is the input.
func TestFilterOntoItself(t *testing.T) {
	path := write(t, []byte("x\n"))
	out, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := command(t, "filter", path)
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &errs
	if code := exitCode(t, cmd.Run()); code != 1 || !strings.Contains(errs.String(), "also the output") {
		t.Fatalf("exit code %d, %s", code, errs.String())
	}
}
