package vfs

import (
	"errors"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// UnmapPages takes the whole pages of p, a piece of a shared mapping of a file,
// out of the process's page table; the next look at one maps it again. The
// kernel writes a page back after it has taken the right to write away from
// every processor that may hold its address, with an interrupt a page; taken out
// here first, one interrupt does for all of p.
func UnmapPages(p []byte) { advise(WholePages(p), unix.MADV_DONTNEED) }

// WholePages returns the part of p that begins and ends with a page, or nothing.
func WholePages(p []byte) []byte {
	page := uintptr(os.Getpagesize())
	p = p[min(-address(p)%page, uintptr(len(p))):]
	return p[:uintptr(len(p))/page*page]
}

// AdviseRandom says that the memory from one address to another, a piece of a mapping of a
// file, is read here and there and a few bytes at a time: else the disk would read far around
// each of them, and push out of the page cache what was wanted.
func AdviseRandom(from, to uintptr) { adviseRange(from, to, unix.MADV_RANDOM) }

// AdviseNeeded has the disk read p, a piece of a mapping of a file, without waiting
// for it.
func AdviseNeeded(p []byte) {
	const piece = 128 << 10 // of more the kernel may leave out the rest
	for ; len(p) > piece; p = p[piece:] {
		advise(p[:piece], unix.MADV_WILLNEED)
	}
	advise(p, unix.MADV_WILLNEED)
}

// MapPages puts the pages that p, a piece of a shared mapping of a file, touches
// into the process's page table, ready to be written; what they hold does not
// change. A page that was written back since then is looked at again when it is
// written. It reports whether it could.
func MapPages(p []byte) bool { return advise(p, unix.MADV_POPULATE_WRITE) }

// advise advises about all pages that p touches, and reports whether the system took
// the advice. A failure costs time only.
func advise(p []byte, advice uintptr) bool {
	return adviseRange(address(p), address(p)+uintptr(len(p)), advice)
}

func adviseRange(from, to, advice uintptr) bool {
	if from == to {
		return true
	}
	before := from % uintptr(os.Getpagesize())
	_, _, errno := unix.Syscall(unix.SYS_MADVISE, from-before, before+to-from, advice)
	return errno == 0
}

// PunchFile gives a file's blocks back and leaves its length: who has it mapped
// reads zeroes, and not, as of a truncated one, SIGBUS.
func PunchFile(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	return punch(f, 0, info.Size())
}

// punch makes a hole of n bytes of a file.
func punch(f *os.File, from, n int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, n)
}

// FillsHoles says that FillHole is known to be worth it.
const FillsHoles = true

// DropCached takes what of a file is in the page cache and not changed out of it. Pages
// that were read ahead have a mark that makes the kernel read on when it is met.
func DropCached(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }

// StartWriting has the kernel begin to write a part of a file, and does not wait. An
// error is told by the sync that follows.
func StartWriting(f *os.File, from, to int64) {
	_ = unix.SyncFileRange(int(f.Fd()), from, to-from, unix.SYNC_FILE_RANGE_WRITE)
}

// zeroes is never written to, so that all of its pages are the kernel's page of zeroes.
var zeroes [HugePage]byte

// FillHole writes zeroes from one offset to another, between which nothing but a hole
// is: what makes a huge page at once. After an error it is a hole again.
func FillHole(f *os.File, from, to int64) error {
	for at := from; at < to; {
		n, err := f.WriteAt(zeroes[:min(to-at, HugePage-at%HugePage)], at)
		at += int64(n)
		if err != nil {
			_ = punch(f, from, at-from) // the first error tells more
			return err
		}
	}
	return nil
}

// Sync is fdatasync: on a preallocated file it leaves out the metadata that
// fsync would write for the time stamps alone.
func (o *osFile) Sync() error {
	conn, err := o.f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = conn.Control(func(fd uintptr) {
		for {
			// An interrupted fdatasync has not consumed a write error yet, so
			// that it may be repeated.
			if serr = unix.Fdatasync(int(fd)); !errors.Is(serr, unix.EINTR) {
				return
			}
		}
	})
	return pathError("fdatasync", o.f.Name(), err, serr)
}

func (o *osFile) Map(size int64) ([]byte, error) {
	conn, err := o.f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var m []byte
	var merr error
	err = conn.Control(func(fd uintptr) {
		m, merr = unix.Mmap(int(fd), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	})
	if err := pathError("mmap", o.f.Name(), err, merr); err != nil {
		return nil, err
	}
	return m, nil
}

func (o *osFile) Unmap(m []byte) error {
	return pathError("munmap", o.f.Name(), nil, unix.Munmap(m))
}

// pathError wraps the first of two errors with the path, if there is one.
func pathError(op, path string, errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return &fs.PathError{Op: op, Path: path, Err: err}
		}
	}
	return nil
}

func address(p []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(p))) }
