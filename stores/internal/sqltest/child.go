package sqltest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
)

// childVar names the environment variable that makes a test binary a child.
const childVar = "FIRSTSEEN_SQLTEST_CHILD"

// Main is TestMain for the stores' tests: it runs the tests, or the work of a
// child process that one of them has started.
func (g Target) Main(m *testing.M, tests func(*testing.M) int) int {
	job := os.Getenv(childVar)
	if job == "" {
		return tests(m)
	}
	work := map[string]func(job []byte) error{"stress": g.stressChild, "inbox": g.inboxChild}
	var kind struct{ Kind string }
	if err := json.Unmarshal([]byte(job), &kind); err != nil {
		panic(err)
	}
	if err := work[kind.Kind]([]byte(job)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// A child is a process of this test binary.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner // what it prints
}

// startChild starts a child that gets job.
func startChild(tb testing.TB, job any) *child {
	tb.Helper()
	text, err := json.Marshal(job)
	must(tb, err)
	self, err := os.Executable()
	must(tb, err)
	c := &child{cmd: exec.CommandContext(context.Background(), self)}
	c.cmd.Env = append(os.Environ(), childVar+"="+string(text))
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	must(tb, err)
	must(tb, c.cmd.Start())
	tb.Cleanup(func() { _ = c.cmd.Process.Kill() })
	c.lines = bufio.NewScanner(out)
	return c
}

// wait waits for the child's end.
func (c *child) wait() error {
	for c.lines.Scan() {
		continue
	}
	return c.cmd.Wait()
}

func say(w io.Writer, line string) {
	_, _ = fmt.Fprintln(w, line) // a parent that has gone doesn't matter
}
