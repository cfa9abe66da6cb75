package journal

import (
	"encoding/binary"
	"os"
	"sync"

	"github.com/firstseen/firstseen/internal/crc32c"
	"github.com/firstseen/firstseen/internal/vfs"
)

// A watermark says how far the journal's frames reach, so that damage near the
// end is told from an unfinished write. It lies in a mapped file of its own and
// a note in it is a memory store: it survives kill -9, and no sync waits for it.
// In the journal's own file every fdatasync would write its page too: 0.61 ms
// instead of 0.25 ms for one of 16 KiB.
//
// After a power cut it may be any older note, or gone. Both are harmless: it only
// ever proves that more must be there.
//
// Layout of journal.mark: two notes at 0 and 64, written in turn, little endian:
//
//	 0  8  durable: frames below it were synced
//	 8  8  written: frames below it were handed to the operating system
//	16  4  epoch
//	20  4  CRC32C of bytes 0 to 19, seeded with the journal's salt
type watermark struct {
	file vfs.File
	salt uint32
	mu   struct {
		sync.Mutex
		page []byte // the mapping, nil when there is none or after close
		// next is where the next note goes, 0 or 1. A process begins with 0, even where that
		// is the best note it has found: its first note comes after the header of its epoch
		// was synced (begin), and that proves as much.
		next int
		last markNote // what was noted last: both positions only grow
	}
}

// MarkSuffix makes the name of a journal's watermark of the journal's own.
const MarkSuffix = ".mark"

const (
	markLen     = 4096
	markNoteLen = 24
	markStride  = 64 // a cache line, so that a tear can hit one note only
)

// markNote is one decoded note.
type markNote struct {
	epoch            uint32
	durable, written Pos
}

// newer orders notes: within an epoch both positions only grow.
func (n markNote) newer(than markNote) bool {
	if n.epoch != than.epoch {
		return n.epoch > than.epoch
	}
	return n.written > than.written || n.durable > than.durable
}

// openWatermark opens or makes the file and returns the best whole note in it,
// which is all zero when there is none.
func openWatermark(fsys vfs.FS, path string, salt uint32) (w *watermark, best markNote, err error) {
	f, err := fsys.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, best, err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	size, err := f.Size()
	if err != nil {
		return nil, best, err
	}
	if size != markLen {
		// It is new, or a crash came while it was made. What notes it had are given up, which
		// is harmless. Its name is not synced: a power loss may take the file.
		//
		// Written, not truncated to length: a store into a hole of a full disk
		// would end the process.
		if _, err := f.WriteAt(make([]byte, markLen), 0); err != nil {
			return nil, best, vfs.DiskFull(err)
		}
		if err := f.Sync(); err != nil {
			return nil, best, vfs.DiskFull(err)
		}
	}
	w = &watermark{file: f, salt: salt}
	if w.mu.page, err = f.Map(markLen); err != nil {
		return nil, best, err
	}
	if w.mu.page == nil {
		return w, best, nil
	}
	for i := range 2 {
		if n, ok := parseNote(w.mu.page[i*markStride:], salt); ok && n.newer(best) {
			best = n
		}
	}
	return w, best, nil
}

func (n markNote) put(b []byte, salt uint32) {
	b = b[:markNoteLen]
	binary.LittleEndian.PutUint64(b, n.durable)
	binary.LittleEndian.PutUint64(b[8:], n.written)
	binary.LittleEndian.PutUint32(b[16:], n.epoch)
	binary.LittleEndian.PutUint32(b[20:], crc32c.Update(salt, b[:20]))
}

func parseNote(b []byte, salt uint32) (n markNote, ok bool) {
	b = b[:markNoteLen]
	n.durable, n.written = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	n.epoch = binary.LittleEndian.Uint32(b[16:])
	return n, binary.LittleEndian.Uint32(b[20:]) == crc32c.Update(salt, b[:20])
}

// note raises the watermark. A kill between its stores leaves the other note,
// which is the one before: whoever waits for this one has no answer yet.
func (w *watermark) note(epoch uint32, durable, written Pos) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.page == nil {
		return
	}
	if w.mu.last.epoch != epoch {
		w.mu.last = markNote{epoch: epoch}
	}
	w.mu.last.durable, w.mu.last.written = max(w.mu.last.durable, durable), max(w.mu.last.written, written)
	w.mu.last.put(w.mu.page[w.mu.next*markStride:], w.salt)
	w.mu.next ^= 1
}

func (w *watermark) close() error {
	w.mu.Lock()
	page := w.mu.page
	w.mu.page = nil
	w.mu.Unlock()
	var err error
	if page != nil {
		err = w.file.Unmap(page)
	}
	if cerr := w.file.Close(); err == nil {
		err = cerr
	}
	return err
}
