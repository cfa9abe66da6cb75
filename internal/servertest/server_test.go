package servertest

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if os.Getenv(holderEnv) != "" {
		fmt.Fprintln(os.Stderr, "holder:", hold())
		os.Exit(1)
	}
	os.Exit(Main(m))
}

// TestLife: a server that was killed is gone, and comes back at its address.
func TestLife(t *testing.T) {
	s := Start(t, Redis)
	addr := s.Env("REDIS_ADDR")
	answers := func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	if !answers() {
		t.Fatal("started, and does not answer")
	}
	s.Kill()
	if answers() {
		t.Fatal("killed, and still answers")
	}
	s.Restart()
	if !answers() {
		t.Fatal("restarted, and does not answer")
	}
}

func TestShared(t *testing.T) {
	a, b := Shared(t, Redis), Shared(t, Redis)
	if a.Env("REDIS_ADDR") != b.Env("REDIS_ADDR") {
		t.Errorf("two servers: %s and %s", a.Env("REDIS_ADDR"), b.Env("REDIS_ADDR"))
	}
}

// holderEnv makes the test binary hold a server until it is killed.
const holderEnv = "FIRSTSEEN_SERVERTEST_HOLDER"

func hold() error {
	s, err := start(Redis, nil)
	if err != nil {
		return err
	}
	fmt.Printf("holds %s %s\n", s.env["REDIS_ADDR"], s.dir)
	select {}
}

// TestKilledBinary: a server ends within seconds of the kill -9 of the test binary that
// started it, and its files with it.
func TestKilledBinary(t *testing.T) {
	Shared(t, Redis) // or the test is skipped
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), holderEnv+"=1")
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	var addr, dir string
	for lines := bufio.NewScanner(out); addr == "" && lines.Scan(); {
		_, _ = fmt.Sscanf(lines.Text(), "holds %s %s", &addr, &dir)
	}
	if err := holder.Process.Kill(); err != nil || addr == "" {
		t.Fatalf("the holder told no address, %v", err)
	}
	_ = holder.Wait()
	for deadline := time.Now().Add(20 * time.Second); ; {
		c, dialErr := net.Dial("tcp", addr)
		if dialErr == nil {
			c.Close()
		}
		_, statErr := os.Stat(dir)
		if dialErr != nil && errors.Is(statErr, fs.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("20 s after the kill: dialing %s says %v, and its directory %v", addr, dialErr, statErr)
		}
		<-time.After(20 * time.Millisecond)
	}
}
