package persist

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/firstseen/firstseen/dedup"
)

func TestLockDir(t *testing.T) {
	dir := t.TempDir()
	l, err := LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LockDir(dir); !errors.Is(err, dedup.ErrLocked) {
		t.Errorf("locked twice: %v", err)
	}
	for range 2 { // the second call does nothing, whoever has the lock meanwhile
		if err := l.Unlock(); err != nil {
			t.Fatal(err)
		}
	}
	l2, err := LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
	if _, err := LockDir(dir); !errors.Is(err, dedup.ErrLocked) {
		t.Errorf("a stale Unlock ended another's lock: %v", err)
	}
	if err := l2.Unlock(); err != nil {
		t.Fatal(err)
	}
	if _, err := LockDir(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

const lockHelper = "PERSIST_TEST_LOCK"

// TestLockDirProcess has another process hold the lock, and die with it.
func TestLockDirProcess(t *testing.T) {
	if dir := os.Getenv(lockHelper); dir != "" {
		if _, err := LockDir(dir); err != nil {
			os.Exit(3)
		}
		os.Stdout.WriteString("locked\n")
		_, _ = os.Stdin.Read(make([]byte, 1)) // until it is killed
		os.Exit(4)
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestLockDirProcess$")
	cmd.Env = append(os.Environ(), lockHelper+"="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Errorf("the other process says %q, %v", line, err)
	}
	if _, err := LockDir(dir); !errors.Is(err, dedup.ErrLocked) {
		t.Errorf("locked by another process: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	l, err := LockDir(dir)
	if err != nil {
		t.Fatalf("after its holder died: %v", err)
	}
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
}
