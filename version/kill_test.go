package version

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firstseen/firstseen/internal/servertest"
)

const (
	childDir      = "FIRSTSEEN_VERSION_CHILD_DIR"
	childCallers  = 8
	childEntities = 40
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
	}
	os.Exit(servertest.Main(m))
}

// child observes ever newer versions until it is killed. It says "try" before
// each call and "ok" after its answer.
func child(dir string) {
	s, err := Open(dir, Options{})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	ctx := context.Background()
	var out sync.Mutex
	tell := func(word string, entity int, version uint64) {
		out.Lock()
		defer out.Unlock()
		fmt.Println(word, entity, version)
	}
	for i := range childCallers {
		go func() {
			for {
				for entity := i; entity < childEntities; entity += childCallers { // each has one writer
					current, err := s.Current(ctx, fmt.Append(nil, entity))
					if err == nil {
						tell("try", entity, current+1)
						var a Answer
						if a, err = s.Observe(ctx, fmt.Append(nil, entity), current+1); err == nil && a.Verdict != Apply {
							err = fmt.Errorf("%d after %d: %+v", current+1, current, a)
						}
					}
					if err != nil {
						out.Lock() // nothing else is said
						fmt.Println("error", err)
						os.Exit(1)
					}
					tell("ok", entity, current+1)
				}
			}
		}()
	}
	select {}
}

// A history is what children have said of a store: the newest version of each entity that one tried,
// and that one got an answer for.
type history struct {
	tried, done    [childEntities]uint64
	answers, ahead int
}

// live lets a child work on a store, and calls end after so many answers, or after a minute. It returns
// false where the child ended before, or said something strange.
func (h *history) live(t *testing.T, dir string, answers int, end func(child *os.Process)) bool {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var ended atomic.Bool
	once := sync.OnceFunc(func() {
		ended.Store(true)
		end(cmd.Process)
		_ = cmd.Process.Kill()
	})
	timer := time.AfterFunc(time.Minute, once) // a child that hangs
	defer timer.Stop()
	if answers == 0 {
		once()
	}
	lines := 0
	for in := bufio.NewScanner(stdout); in.Scan(); {
		var word string
		var entity int
		var version uint64
		if _, err := fmt.Sscan(in.Text(), &word, &entity, &version); err != nil || word == "error" {
			if !ended.Load() {
				t.Errorf("the child says %q", in.Text())
			}
			break
		}
		if word == "try" {
			h.tried[entity] = max(h.tried[entity], version)
			continue
		}
		h.done[entity] = max(h.done[entity], version)
		h.answers++
		if lines++; lines == answers {
			once()
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if lines < answers {
		t.Errorf("the child ended after %d answers", lines)
	}
	return !t.Failed()
}

// check opens the store: what was answered is never applied again, nor is what is older, and nothing is
// recorded that was not tried.
func (h *history) check(t *testing.T, dir string) bool {
	t.Helper()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Error(err)
		return false
	}
	for i := range h.done {
		v, err := s.Current(t.Context(), fmt.Append(nil, i))
		if err != nil || v < h.done[i] || v > h.tried[i] {
			t.Errorf("entity %d is at %d, %v; answered %d, tried %d", i, v, err, h.done[i], h.tried[i])
		}
		if v > h.done[i] {
			h.ahead++
		}
		for old := h.done[i]; old > 0 && old+2 > h.done[i]; old-- {
			if a, err := s.Observe(t.Context(), fmt.Append(nil, i), old); err != nil || a.Verdict != Stale {
				t.Errorf("entity %d was answered at %d, now at %d: %+v, %v", i, h.done[i], old, a, err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	return !t.Failed()
}

// TestKill kills a child in the middle of its work, again and again over the same directory.
func TestKill(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	dir := filepath.Join(t.TempDir(), "versions")
	var h history
	for cycle := range 15 {
		kill := func(child *os.Process) { _ = child.Kill() }
		if !h.live(t, dir, 1+rng.IntN(150), kill) || !h.check(t, dir) {
			t.Fatalf("that was cycle %d of seed %d", cycle, seed)
		}
	}
	t.Logf("%d answers, %d updates recorded without one", h.answers, h.ahead)
	if h.answers == 0 {
		t.Error("nothing was answered")
	}
}
