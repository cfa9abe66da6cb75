package soak

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

const childEnv = "FIRSTSEEN_SOAK_CHILD"

func TestMain(m *testing.M) {
	if arg := os.Getenv(childEnv); arg != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if os.Getenv(childEnv+"_FORGET") != "" {
			// The broken twin: it begins anew, and so forgets everything.
			var from, window, rate, sync, seed, dir = uint64(0), int64(0), 0, 0, uint64(0), ""
			_, _ = fmt.Sscan(arg, &from, &window, &rate, &sync, &seed, &dir)
			_ = os.RemoveAll(dir)
		}
		if err := Child(ctx, arg, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func config(t *testing.T, env ...string) Config {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Config{Dir: filepath.Join(t.TempDir(), "seen"), For: 8 * time.Second, Window: 10 * time.Second, Rate: 10_000, Seed: 3,
		Command: func(arg string) *exec.Cmd {
			cmd := exec.Command(self)
			cmd.Env = append(append(os.Environ(), childEnv+"="+arg), env...)
			return cmd
		}}
}

func TestRun(t *testing.T) {
	r, err := Run(t.Context(), config(t))
	if err != nil || !r.Sound() || r.Keys == 0 || r.Lives == 0 || r.MemoryMax == 0 || r.DiskMax == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	t.Logf("%+v", r)
}

// TestRunNotices: an engine that forgets at each start is found out.
func TestRunNotices(t *testing.T) {
	c := config(t, childEnv+"_FORGET=1")
	c.For = time.Minute
	r, err := Run(t.Context(), c)
	if err != nil || r.Missed == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
}
