package servertest

import (
	"net"
	"os"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

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
