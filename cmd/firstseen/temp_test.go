package main

import (
	"bufio"
	"os"
	"path/filepath"
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
