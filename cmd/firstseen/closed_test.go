package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// shell runs a line with the command as $firstseen.
func shell(t *testing.T, line string, env ...string) result {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", line)
	cmd.Env = append(os.Environ(), asCommand+"=1", "TMPDIR="+t.TempDir(), "firstseen="+self)
	cmd.Env = append(cmd.Env, env...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("a\n"), &out, &errs
	code := exitCode(t, cmd.Run())
	return result{out.String(), errs.String(), code}
}

// TestFilterClosed: a stream that is closed is an error before a key is marked; the
// null device is not.
func TestFilterClosed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "seen")
	f := func(line string, code int, inStderr string) {
		t.Helper()
		r := shell(t, line, "dir="+dir)
		if r.code != code || !strings.Contains(r.err, inStderr) || inStderr == "" && r.err != "" {
			t.Fatalf("%s: %+v", line, r)
		}
	}
	f(`"$firstseen" filter --dir "$dir" >&-`, 1, "standard output is closed")
	f(`"$firstseen" filter >&-`, 1, "standard output is closed")
	f(`"$firstseen" filter --dir "$dir" <&-`, 1, "standard input is closed")
	f(`"$firstseen" filter --stats --dir "$dir" 2>&-`, 1, "")
	if _, err := os.Stat(dir); err == nil {
		t.Fatal("a directory was made")
	}
	if r := shell(t, `"$firstseen" filter --dir "$dir"`, "dir="+dir); r.out != "a\n" {
		t.Fatalf("%+v", r)
	}
	f(`"$firstseen" filter >/dev/null`, 0, "")
	f(`"$firstseen" filter </dev/null`, 0, "")
	f(`"$firstseen" filter "`+write(t, []byte("x\n"))+`" <&- >/dev/null`, 0, "")
}

// TestAnswersAreWritten: an answer that could not be written is a failure.
func TestAnswersAreWritten(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full, which every Linux has")
	}
	dir := filled(t, "a\n")
	f := func(code int, line, to string) {
		t.Helper()
		if r := shell(t, line+to, "dir="+dir); r.code != code || r.err == "" {
			t.Errorf("%s: %+v, want exit code %d", line+to, r, code)
		}
	}
	f(exitUnanswered, `"$firstseen" contains "$dir" a`, " >/dev/full")
	f(exitUnanswered, `"$firstseen" contains "$dir" b`, " >/dev/full")
	for _, line := range []string{
		`"$firstseen" forget "$dir" b`, `"$firstseen" inspect "$dir"`, `"$firstseen" verify "$dir"`, `"$firstseen" verify --json "$dir"`,
		`"$firstseen" repair "$dir"`, `"$firstseen" filter`, `"$firstseen" --version`, `"$firstseen" completion bash`,
	} {
		f(1, line, " >/dev/full")
	}
	f(1, `"$firstseen" inspect "$dir"`, " >&-") // others say it by their exit code, too
}
