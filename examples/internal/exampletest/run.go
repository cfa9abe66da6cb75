// Package exampletest runs an example with a broker as its README says.
package exampletest

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Run calls ./run, which may take so long, wants one row for each order, and returns
// what it printed. Without what is needed, paths or commands, it skips the test aloud,
// or fails where FIRSTSEEN_REQUIRE_SERVERS is 1.
func Run(t *testing.T, limit time.Duration, needed ...string) (printed string) {
	t.Helper()
	for _, n := range needed {
		if err := there(n); err != nil && os.Getenv("FIRSTSEEN_REQUIRE_SERVERS") != "1" {
			t.Skipf("!!! SKIPPED: %v (scripts/brokers install all)", err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	run := exec.CommandContext(ctx, "./run", "-orders", "50")
	// It stops its servers when it is told to end, with all that it has started.
	run.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	run.Cancel = func() error { return syscall.Kill(-run.Process.Pid, syscall.SIGTERM) }
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const want = "50 orders, 60 messages: 50 rows, 10 duplicates dropped, 5 handlers failed at first\n"
	if !strings.HasSuffix(string(out), want) {
		t.Errorf("it prints %q, want %q in the end", out, want)
	}
	return string(out)
}

func there(needed string) error {
	if strings.Contains(needed, "/") {
		_, err := os.Stat(needed)
		return err
	}
	_, err := exec.LookPath(needed)
	return err
}
