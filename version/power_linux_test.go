package version

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/firstseen/firstseen/internal/mounttest"
)

// TestPowerLoss cuts the power of an ext4 file system in a file, under a child that observes: also while
// it makes the store, or opens it after the last cut. FIRSTSEEN_FAULTS=long makes it 200 cuts.
func TestPowerLoss(t *testing.T) {
	cycles := 12
	if os.Getenv("FIRSTSEEN_FAULTS") == "long" {
		cycles = 200
	}
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	d, err := mounttest.NewDisk(t, t.TempDir(), 256<<20)
	if err != nil {
		skip(t, err)
	}
	var h history
	dir, answers, ahead := "", 0, 0
	for cycle := range cycles {
		if cycle%6 == 0 { // one that has to be made
			if dir != "" {
				answers, ahead = answers+h.answers, ahead+h.ahead
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
			h, dir = history{}, filepath.Join(d.Dir, fmt.Sprint("versions", cycle))
		}
		life := 1 + rng.IntN(150)
		if cycle%3 == 0 {
			life = 0 // it says nothing before it has opened the store
		}
		ok := h.live(t, dir, life, func(*os.Process) {
			if life == 0 {
				<-time.After(time.Duration(rng.IntN(60)) * time.Millisecond)
			}
			err = d.CutPower()
		})
		if err != nil {
			skip(t, err)
		}
		d.Remount()
		if !ok || !h.damaged(t, dir) || !h.check(t, dir) {
			t.Fatalf("that was cycle %d of seed %d", cycle, seed)
		}
	}
	t.Logf("%d cuts, %d answers, %d updates recorded without one", cycles, answers+h.answers, ahead+h.ahead)
	if answers+h.answers == 0 {
		t.Error("nothing was answered")
	}
}

// damaged checks that a copy of what a cut left is refused when the log lacks something that was answered.
func (h *history) damaged(t *testing.T, dir string) bool {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "badger", "*.mem"))
	if err != nil || len(logs) == 0 || h.answers == 0 {
		return err == nil
	}
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(to, "badger", filepath.Base(logs[len(logs)-1]))
	content, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	written := len(bytes.TrimRight(content, "\x00"))
	if written < 100 {
		return true // of a life that said nothing
	}
	flip(t, log, int64(written)/2)
	wantCorrupt(t, to)
	return !t.Failed()
}

// skip says loudly that a test can't be run here.
func skip(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("FIRSTSEEN_REQUIRE_SERVERS") != "" {
		t.Fatalf("can't run: %v", err)
	}
	t.Skipf("SKIPPED: %v", err)
}
