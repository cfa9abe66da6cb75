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

// TestKill kills a child in the middle of its work, again and again over the
// same directory: what was answered is never applied again, and nothing is
// recorded that was not tried.
func TestKill(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	dir := filepath.Join(t.TempDir(), "versions")
	var tried, done [childEntities]uint64
	answers, ahead := 0, 0
	for cycle := range 15 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		stdout, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		// A child that hangs; the kill that is meant comes after some answers.
		timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		life, lines := 1+rng.IntN(150), 0
		for in := bufio.NewScanner(stdout); in.Scan(); {
			var word string
			var entity int
			var version uint64
			if _, err := fmt.Sscan(in.Text(), &word, &entity, &version); err != nil || word == "error" {
				t.Errorf("seed %d, cycle %d: the child says %q", seed, cycle, in.Text())
				break
			}
			if word == "try" {
				tried[entity] = max(tried[entity], version)
				continue
			}
			done[entity] = max(done[entity], version)
			answers++
			if lines++; lines == life {
				_ = cmd.Process.Kill()
			}
		}
		_ = cmd.Process.Kill()
		timer.Stop()
		_ = cmd.Wait()
		if lines < life || t.Failed() {
			t.Fatalf("seed %d, cycle %d: the child ended after %d answers", seed, cycle, lines)
		}

		s, err := Open(dir, Options{})
		if err != nil {
			t.Fatalf("seed %d, cycle %d: %v", seed, cycle, err)
		}
		for i := range done {
			v, err := s.Current(t.Context(), fmt.Append(nil, i))
			if err != nil || v < done[i] || v > tried[i] {
				t.Errorf("seed %d, cycle %d: entity %d is at %d, %v; answered %d, tried %d", seed, cycle, i, v, err, done[i], tried[i])
			}
			if v > done[i] {
				ahead++
			}
			if done[i] == 0 {
				continue
			}
			if a, err := s.Observe(t.Context(), fmt.Append(nil, i), done[i]); err != nil || a.Verdict != Stale {
				t.Errorf("seed %d, cycle %d: entity %d at %d again: %+v, %v", seed, cycle, i, done[i], a, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d answers, %d updates recorded without one", answers, ahead)
	if answers == 0 {
		t.Error("nothing was answered")
	}
}
