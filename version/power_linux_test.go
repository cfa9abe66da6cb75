package version

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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
	d := newLoopDisk(t, 256<<20)
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
			h, dir = history{}, filepath.Join(d.mount, fmt.Sprint("versions", cycle))
		}
		life := 1 + rng.IntN(150)
		if cycle%3 == 0 {
			life = 0 // it says nothing before it has opened the store
		}
		var err error
		ok := h.live(t, dir, life, func(*os.Process) {
			if life == 0 {
				<-time.After(time.Duration(rng.IntN(60)) * time.Millisecond)
			}
			err = d.cut()
		})
		if err != nil {
			skip(t, "the shutdown ioctl: %v", err)
		}
		d.again(t)
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

// A loopDisk is an ext4 file system in a file.
type loopDisk struct{ image, mount string }

// newLoopDisk makes and mounts one, or skips the test loudly.
func newLoopDisk(t *testing.T, size int64) *loopDisk {
	t.Helper()
	if os.Getuid() != 0 {
		skip(t, "mounting needs root")
	}
	d := &loopDisk{image: filepath.Join(t.TempDir(), "disk"), mount: t.TempDir()}
	if err := errors.Join(os.WriteFile(d.image, nil, 0o600), os.Truncate(d.image, size)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", d.image).CombinedOutput(); err != nil {
		skip(t, "mkfs.ext4: %v: %s", err, out)
	}
	if err := d.mounted(); err != nil {
		skip(t, "%v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(d.mount, unix.MNT_DETACH) })
	return d
}

func (d *loopDisk) mounted() error {
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.mount).CombinedOutput(); err != nil {
		return fmt.Errorf("mount: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// cut is FS_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH: the file system stops as it is on disk, as
// when the power goes.
func (d *loopDisk) cut() error {
	f, err := os.Open(d.mount)
	if err != nil {
		return err
	}
	err = unix.IoctlSetPointerInt(int(f.Fd()), 0x8004587d, 2)
	return errors.Join(err, f.Close())
}

// again mounts it anew: what the kernel had not written is gone.
func (d *loopDisk) again(t *testing.T) {
	t.Helper()
	for _, try := range []func() error{func() error { return unix.Unmount(d.mount, 0) }, d.mounted} {
		// A killed process keeps a mount busy, and the kernel a loop device, for some moments.
		err := try()
		for end := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(end); err = try() {
			<-time.After(50 * time.Millisecond)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// skip says loudly that a test can't be run here.
func skip(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("FIRSTSEEN_REQUIRE_SERVERS") != "" {
		t.Fatalf("can't run: "+format, args...)
	}
	t.Skipf("SKIPPED: "+format, args...)
}
