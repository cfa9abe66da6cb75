package engine

import (
	"fmt"
	"testing"

	"github.com/firstseen/firstseen/internal/mounttest"
	"github.com/firstseen/firstseen/internal/vfs"
)

const smallDiskBytes = 64 << 20

// smallDisk mounts a small file system in memory, or skips the test loudly.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir, err := mounttest.Mount(t, "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", smallDiskBytes), "tmpfs")
	if err != nil {
		faultSkip(t, "%v", err)
	}
	return dir
}

func freeBytes(dir string) (int64, error) { return vfs.FreeSpace(dir) }

// newLoopDisk makes and mounts an ext4 file system, or skips the test loudly. Its file lies
// in memory where it can: what the disk below does, and for whom, is no part of this.
func newLoopDisk(t *testing.T, size int64, mkfs ...string) *mounttest.Disk {
	t.Helper()
	d, err := mounttest.NewDisk(t, memoryDir(t, size), size, mkfs...)
	if err != nil {
		faultSkip(t, "%v", err)
	}
	return d
}
