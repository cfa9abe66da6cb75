package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTemporaryOfKilledRun: what a killed run leaves goes with the next one, which
// spares those that live and what is somebody else's.
func TestTemporaryOfKilledRun(t *testing.T) {
	temp := t.TempDir()
	foreign := filepath.Join(temp, "firstseen-else")
	if err := os.Mkdir(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	start := func() (end func() error) {
		t.Helper()
		cmd := command(t, "filter")
		cmd.Env = append(cmd.Env, "TMPDIR="+temp)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		if _, err := stdin.Write([]byte("a\n")); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "a\n" {
			t.Fatalf("%q, %v", line, err)
		}
		return func() error {
			if err := cmd.Process.Kill(); err != nil {
				return err
			}
			_ = cmd.Wait()
			return nil
		}
	}
	count := func(want int) {
		t.Helper()
		entries, err := filepath.Glob(filepath.Join(temp, tempPrefix+"*"))
		if err != nil || len(entries) != want {
			t.Fatalf("%v, %v; want %d", entries, err, want)
		}
	}
	lives := start()
	killed := start()
	count(2)
	if err := killed(); err != nil {
		t.Fatal(err)
	}
	count(2)
	third := start()
	count(2) // the killed one's is gone
	for _, end := range []func() error{lives, third} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
	}
	cmd := command(t, "filter")
	cmd.Env = append(cmd.Env, "TMPDIR="+temp)
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	count(0)
	if _, err := os.Stat(foreign); err != nil {
		t.Fatal(err)
	}
}

// badgersOwn is what Badger syncs when it makes its directory, empty as it is, in the
// background; nothing can be set to keep it from that.
var badgersOwn = regexp.MustCompile(`fsync\(\d+<[^>]*/seg-\d+(/MANIFEST-REWRITE)?>`)

// TestTemporaryIsNotSynced: without --dir no key waits for the disk, in Badger's files
// neither; with one it does.
func TestTemporaryIsNotSynced(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("FIRSTSEEN_REQUIRE_SERVERS") != "" {
			t.Fatal(err)
		}
		t.Skip("SKIPPED: there is no strace, so nobody sees what is synced")
	}
	in, _ := distinct(t, 300_000) // enough that tables are flushed
	path := write(t, in)
	syncs := func(args ...string) int {
		t.Helper()
		log := filepath.Join(t.TempDir(), "log")
		cmd := command(t, append([]string{"filter", "--memory", "40MiB", path}, args...)...)
		cmd.Args = append([]string{strace, "-f", "-qq", "-y", "-e", "trace=fsync,fdatasync,msync,sync_file_range,syncfs", "-o", log}, cmd.Args...)
		cmd.Path = strace
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %.300s", err, out)
		}
		data, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for line := range strings.Lines(string(data)) {
			if strings.Contains(line, "sync") && !strings.Contains(line, "resumed") && !badgersOwn.MatchString(line) {
				n++
			}
		}
		return n
	}
	if n := syncs("--dir", filepath.Join(t.TempDir(), "seen"), "--sync", "none"); n == 0 {
		t.Fatal("nothing is seen of what --dir syncs")
	}
	if n := syncs(); n > 0 {
		t.Fatalf("%d syncs", n)
	}
}
