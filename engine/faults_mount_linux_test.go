package engine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/firstseen/firstseen/internal/vfs"
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

const smallDiskBytes = 64 << 20

func smallDisk(t *testing.T) string {
	t.Helper()
	return mountFor(t, "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", smallDiskBytes), "tmpfs")
}

func freeBytes(dir string) (int64, error) { return vfs.FreeSpace(dir) }

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

// A loopDisk is an ext4 file system in a file.
type loopDisk struct{ image, mount string }

// newLoopDisk makes and mounts one, or skips the test loudly. The file lies in
// memory where it can: what the disk below does, and for whom, is no part of this.
func newLoopDisk(t *testing.T, size int64, mkfs ...string) *loopDisk {
	t.Helper()
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		faultSkip(t, "there is no mkfs.ext4")
	}
	d := &loopDisk{image: filepath.Join(memoryDir(t, size), "disk")}
	if err := errors.Join(os.WriteFile(d.image, nil, 0o600), os.Truncate(d.image, size)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", append(mkfs, "-q", "-F", d.image)...).CombinedOutput(); err != nil {
		faultSkip(t, "mkfs.ext4: %v: %s", err, out)
	}
	d.mount = mountFor(t, "-o", "loop", d.image)
	return d
}

// again mounts it anew, as after a power cut: what the kernel had not written is
// gone.
func (d *loopDisk) again(t *testing.T) {
	t.Helper()
	d.unmount(t)
	patiently(t, "mounting again", func() error {
		out, err := exec.Command("mount", "-o", "loop", d.image, d.mount).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

func (d *loopDisk) unmount(t *testing.T) {
	t.Helper()
	patiently(t, "unmounting", func() error { return unix.Unmount(d.mount, 0) })
}

// patiently tries again for a while: a killed process keeps a mount busy, and the
// kernel a loop device, for some moments.
func patiently(t *testing.T, what string, try func() error) {
	t.Helper()
	err := try()
	for end := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(end); err = try() {
		<-time.After(50 * time.Millisecond)
	}
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
