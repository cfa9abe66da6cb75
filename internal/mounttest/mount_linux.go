package mounttest

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
)

// Mount mounts something in a new directory, for the length of the test. args are those of
// mount, but for the directory.
func Mount(tb testing.TB, args ...string) (dir string, err error) {
	tb.Helper()
	dir = tb.TempDir()
	if os.Getuid() != 0 {
		return "", errors.New("mounting needs root")
	}
	if err := run("mount", append(args, dir)...); err != nil {
		return "", err
	}
	// Detached, since a test that has failed may have left a process there.
	tb.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir, nil
}

// A Disk is an ext4 file system in a file, for one test and one goroutine; CutPower may be
// called by another one.
type Disk struct {
	Dir   string // where it is mounted
	tb    testing.TB
	image string
}

// NewDisk makes and mounts a file system of so many bytes. Its file lies in the directory dir:
// one in memory makes the test independent of what the disk below does, and for whom. mkfs
// are further arguments of mkfs.ext4.
func NewDisk(tb testing.TB, dir string, bytes int64, mkfs ...string) (*Disk, error) {
	tb.Helper()
	d := &Disk{tb: tb, image: filepath.Join(dir, "disk")}
	if err := errors.Join(os.WriteFile(d.image, nil, 0o600), os.Truncate(d.image, bytes)); err != nil {
		tb.Fatal(err)
	}
	err := run("mkfs.ext4", append(mkfs, "-q", "-F", d.image)...)
	if err == nil {
		d.Dir, err = Mount(tb, "-o", "loop", d.image)
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// CutPower stops the file system as it is on disk, as a power cut does: nothing more is
// written, its own journal included, and every call that would write fails. An error says
// that this kernel can't.
func (d *Disk) CutPower() error {
	const (
		ioctlShutdown = 0x8004587d // FS_IOC_SHUTDOWN
		noLogFlush    = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH
	)
	f, err := os.Open(d.Dir)
	if err != nil {
		return err
	}
	if err = unix.IoctlSetPointerInt(int(f.Fd()), ioctlShutdown, noLogFlush); err != nil {
		err = fmt.Errorf("the shutdown ioctl: %w", err)
	}
	return errors.Join(err, f.Close())
}

// Remount mounts the disk anew, as after a power cut: what the kernel had not written is gone.
func (d *Disk) Remount() {
	d.tb.Helper()
	d.Unmount()
	d.patiently("mounting again", func() error { return run("mount", "-o", "loop", d.image, d.Dir) })
}

// Unmount unmounts the disk.
func (d *Disk) Unmount() {
	d.tb.Helper()
	d.patiently("unmounting", func() error { return unix.Unmount(d.Dir, 0) })
}

// patiently tries again for a while: a killed process keeps a mount busy, and the kernel a
// loop device, for some moments.
func (d *Disk) patiently(what string, try func() error) {
	d.tb.Helper()
	err := try()
	for end := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(end); err = try() {
		<-time.After(50 * time.Millisecond)
	}
	if err != nil {
		d.tb.Fatalf("mounttest: %s: %v", what, err)
	}
}

// run runs a command. Its error has what the command said.
func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
