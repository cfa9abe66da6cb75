package main

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestRun is what the README says to do.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("!!! SKIPPED with -short: make servers runs it on a real broker")
	}
	for _, needed := range []string{"java", "mariadbd"} {
		if _, err := exec.LookPath(needed); err != nil && os.Getenv("FIRSTSEEN_REQUIRE_SERVERS") != "1" {
			t.Skipf("!!! SKIPPED: %v (scripts/brokers install rocketmq mariadb)", err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
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
	if n := strings.Count(string(out), "came again: dropped"); n != 10 {
		t.Errorf("it tells of %d duplicates, want 10", n)
	}
}
