package engine

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/firstseen/firstseen/internal/sabotage"
	"github.com/firstseen/firstseen/persist"
)

// mountFor mounts something for the length of the test, or skips it loudly.
func mountFor(t *testing.T, args ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if os.Getuid() != 0 {
		faultSkip(t, "mounting needs root")
	}
	if out, err := exec.Command("mount", append(args, dir)...).CombinedOutput(); err != nil {
		faultSkip(t, "mount %v: %v: %s", args, err, strings.TrimSpace(string(out)))
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func smallDisk(t *testing.T) string {
	t.Helper()
	return mountFor(t, "-t", "tmpfs", "-o", "size=64m", "tmpfs")
}

func freeBytes(dir string) (int64, error) { return persist.FreeSpace(dir) }

// shutdown is FS_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH: the file system
// stops as it is on disk, as a power cut leaves it.
func shutdown(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = unix.IoctlSetPointerInt(int(f.Fd()), 0x8004587d, 2)
	return errors.Join(err, f.Close())
}

// TestFaultsPowerLoss cuts the power of an ext4 file system in a file, under a
// child that marks with SyncAlways: nothing that was acknowledged may be lost.
func TestFaultsPowerLoss(t *testing.T) {
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		faultSkip(t, "there is no mkfs.ext4")
	}
	runFaults(t, func(p *faultPart) { powerCycles(p, faultScale(10, 300)) }, sabotage.AnswerEarly, sabotage.PublishUnsynced)
}

func powerCycles(p *faultPart, cycles int) {
	t := p.t
	image := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 256<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", image).CombinedOutput(); err != nil {
		faultSkip(t, "mkfs.ext4: %v: %s", err, out)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	l := &ledger{p: p, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()}
	mount := mountFor(t, "-o", "loop", image)
	for cycle := 0; cycle < cycles && !p.done(); cycle++ {
		c := childConfig{scenario: "load", dir: filepath.Join(mount, "seen"), from: l.tried, now: l.now, speed: 1500,
			seed: uint64(cycle), batches: 5 + rng.IntN(60), fault: p.fault}
		cmd, stdout := startChild(t, c, l.stdin(l.alive(l.now, childWindow)))
		cut := make(chan error, 1)
		timer := time.AfterFunc(time.Duration(60+rng.IntN(400))*time.Millisecond, func() {
			cut <- shutdown(mount)
			_ = cmd.Process.Kill()
		})
		fails := len(p.mu.fails)
		l.read(stdout)
		_ = cmd.Wait()
		if timer.Stop() {
			p.errorf("cycle %d: the child ended before the power did", cycle)
			return
		}
		if err := <-cut; err != nil {
			faultSkip(t, "the shutdown ioctl: %v", err)
		}
		// What it says once its disk is gone is no broken promise; missed keys are
		// found below.
		p.mu.fails = p.mu.fails[:fails]
		if err := unix.Unmount(mount, 0); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("mount", "-o", "loop", image, mount).CombinedOutput(); err != nil {
			p.fatalf("mounting again: %v: %s", err, out)
		}
		p.count("power cuts", 1)
		c.now = l.now
		opts := c.options()
		opts.Now = func() time.Time { return time.Unix(0, l.now) }
		e, err := Open(c.dir, opts)
		if err != nil {
			p.errorf("cycle %d: open: %v", cycle, err)
			return
		}
		for _, k := range l.alive(e.clock.read(), childWindow) {
			p.count("keys looked up", p.checkKeys(e, "after the power cut", faultKeys(k.from, k.n), nil))
		}
		l.now = max(l.now, e.clock.read())
		e.crash(t)
	}
	p.count("keys acknowledged", int(l.keys))
	if err := unix.Unmount(mount, 0); err != nil {
		t.Fatal(err)
	}
}
