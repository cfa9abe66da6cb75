package persist

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"

	"github.com/firstseen/firstseen/internal/vfs"
)

// Opening a Badger directory that may be damaged. Badger's Open makes up for
// damage by forgetting, and some damage makes it panic in its own goroutines or
// end the process; so the files are looked at first.

const (
	vlogHeader   = 20 // key ID and IV at the start of a value-log file
	vlogEntryMax = 22 // longest header of an entry
)

// openStore opens an existing Badger directory. What is wrong with its files is
// a *dedup.CorruptError; what is wrong with the process or the machine
// (descriptors, memory, rights, room) is not.
func openStore(dir string, maxBytes int64, logger *slog.Logger) (*store, error) {
	return openStoreOf(dir, logger, segmentStore(dir, maxBytes))
}

func openStoreOf(dir string, logger *slog.Logger, open opener) (*store, error) {
	if err := prepareStore(dir); err != nil {
		return nil, err
	}
	if err := checkRoom(dir); err != nil {
		return nil, fmt.Errorf("persist: opening segment %s: %w", dir, err)
	}
	s, err := startStore(dir, logger, open)
	if err == nil {
		err = s.log.failure() // "Ignoring table", for one
	}
	if err == nil {
		return s, nil
	}
	if s != nil {
		err = errors.Join(err, s.close())
	}
	// An error of the system is the machine's affair, and repair must not give the segment up
	// for it. ENOENT alone is damage: a file of the segment has gone.
	var errno syscall.Errno
	if errors.As(err, &errno) && errno != syscall.ENOENT {
		return nil, fmt.Errorf("persist: opening segment %s: %w", dir, vfs.DiskFull(err))
	}
	return nil, corrupt(dir, -1, "the store can't be opened: %v", err)
}

// prepareStore undoes what makes Badger's Open destroy or fail needlessly. protectLog comes after
// dropEmptyLogs: while an empty log is the newest one, the one that needs protection is not. A
// crash in between is harmless, since the next opening does all of it again.
func prepareStore(dir string) error {
	// Without a MANIFEST, Open makes an empty store of it and removes the tables.
	info, err := os.Stat(filepath.Join(dir, badger.ManifestFilename))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return corrupt(dir, -1, "the segment or its file %s is missing", badger.ManifestFilename)
	case err != nil:
		return fmt.Errorf("persist: opening segment: %w", err)
	case info.Size() == 0:
		return corrupt(dir, -1, "its file %s is empty", badger.ManifestFilename)
	}
	// Statistics for the value log's garbage collection, which never runs here.
	// When this file can't be read, Badger ends the process.
	if err := os.Remove(filepath.Join(dir, "DISCARD")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("persist: opening segment: %w", err)
	}
	if err := dropKeyRegistry(dir); err != nil {
		return fmt.Errorf("persist: opening segment: %w", err)
	}
	if err := dropEmptyLogs(dir); err != nil {
		return fmt.Errorf("persist: opening segment: %w", err)
	}
	if err := checkTables(dir); err != nil {
		return err
	}
	return protectLog(dir)
}

// dropKeyRegistry removes a list of encryption keys that is not the empty one.
// We don't encrypt, so Badger makes another; but it does not open with a damaged
// one. It is 16 bytes of anything and a constant.
func dropKeyRegistry(dir string) error {
	path := filepath.Join(dir, badger.KeyRegistryFileName)
	data, err := os.ReadFile(path)
	if err == nil && (len(data) != 28 || string(data[16:]) != "Hello Badger") {
		return os.Remove(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// dropEmptyLogs removes logs without a byte: a kill between their creation and
// their first one leaves them, or a power cut that came before their sync. Badger
// does not open with one. Whether anything should be in it our manifest knows.
func dropEmptyLogs(dir string) error {
	mem, err := storeFiles(dir, ".mem")
	if err != nil {
		return err
	}
	values, err := storeFiles(dir, ".vlog")
	if err != nil {
		return err
	}
	for _, path := range append(mem, values...) {
		info, err := os.Stat(path)
		if err == nil && info.Size() == 0 {
			err = os.Remove(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// knownTables are the files that Badger's MANIFEST names. Others are what a kill
// left of a table under way; Badger removes them. nil: it can't be read, and
// then Badger does not open.
func knownTables(dir string) map[string]bool {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if err != nil {
		return nil
	}
	defer f.Close()
	m, _, err := badger.ReplayManifestFile(f, 0, badger.DefaultOptions(dir).WithLogger(nil))
	if err != nil {
		return nil
	}
	known := map[string]bool{}
	for id := range m.Tables {
		known[table.IDToFilename(id)] = true
	}
	return known
}

// checkTables verifies the checksums of all tables. Badger's Open reads them in
// goroutines of its own, without verifying blocks, and panics or ends the process
// when lengths lead out of the file.
func checkTables(dir string) error {
	known := knownTables(dir)
	tables, err := storeFiles(dir, ".sst")
	if err != nil {
		return err
	}
	for _, path := range tables {
		if known != nil && !known[filepath.Base(path)] {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("persist: opening segment: %w", err)
		}
		if err := checkTable(data); err != nil {
			return corrupt(path, -1, "%v", err)
		}
	}
	return nil
}

// checkTable verifies a table file: blocks, then their index, its length, its
// checksum and the length of that (lengths: 4 bytes, big endian). A block ends
// with its checksum and the length of that too.
func checkTable(data []byte) (err error) {
	defer func() {
		if p := recover(); p != nil { // the index's decoder trusts what it reads
			err = fmt.Errorf("the table's index is malformed: %v", p)
		}
	}()
	rest, sum, err := cutChecksum(data)
	if err != nil {
		return fmt.Errorf("the table's index: %w", err)
	}
	rest, length, err := cutLength(rest)
	if err != nil {
		return fmt.Errorf("the table's index: %w", err)
	}
	blocks, index := rest[:len(rest)-length], rest[len(rest)-length:]
	if err := y.VerifyChecksum(index, sum); err != nil {
		return fmt.Errorf("the table's index: %w", err)
	}
	table := fb.GetRootAsTableIndex(index, 0)
	if table.OffsetsLength() == 0 {
		return errors.New("a table without blocks")
	}
	for i := range table.OffsetsLength() {
		var at fb.BlockOffset
		table.Offsets(&at, i)
		end := uint64(at.Offset()) + uint64(at.Len())
		if end > uint64(len(blocks)) {
			return fmt.Errorf("block %d of the table ends at %d of %d", i, end, len(blocks))
		}
		block, sum, err := cutChecksum(blocks[at.Offset():end])
		if err == nil {
			err = y.VerifyChecksum(block, sum)
		}
		if err != nil {
			return fmt.Errorf("block %d of the table: %w", i, err)
		}
	}
	return nil
}

// cutLength takes a length off the end of p, and checks that so much is left.
func cutLength(p []byte) (rest []byte, n int, err error) {
	if len(p) < 4 {
		return nil, 0, fmt.Errorf("%d bytes, too few for a length", len(p))
	}
	rest = p[:len(p)-4]
	length := binary.BigEndian.Uint32(p[len(rest):])
	if uint64(length) > uint64(len(rest)) {
		return nil, 0, fmt.Errorf("a length of %d in %d bytes", length, len(rest))
	}
	return rest, int(length), nil
}

// cutChecksum takes a checksum and its length off the end of p.
func cutChecksum(p []byte) (rest []byte, sum *pb.Checksum, err error) {
	rest, n, err := cutLength(p)
	if err != nil {
		return nil, nil, err
	}
	sum = &pb.Checksum{}
	if err := proto.Unmarshal(rest[len(rest)-n:], sum); err != nil {
		return nil, nil, err
	}
	return rest[:len(rest)-n], sum, nil
}

// protectLog keeps Badger's hands off the newest value-log file: Open reads all
// of it and cuts it off at the first entry whose checksum is wrong, so that one
// flipped bit would destroy everything behind it. Only the file with the highest
// number gets that treatment; so we put an empty one behind it.
func protectLog(dir string) error {
	logs, err := storeFiles(dir, ".vlog")
	if err != nil || len(logs) == 0 {
		return err
	}
	last := logs[len(logs)-1]
	f, err := os.OpenFile(last, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("persist: opening segment: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("persist: opening segment: %w", err)
	}
	if info.Size() <= vlogHeader {
		return nil
	}
	head := make([]byte, vlogEntryMax)
	if n, _ := f.ReadAt(head, vlogHeader); bytes.Count(head[:n], []byte{0}) == n {
		// Nothing was ever written behind the header but zeroes: it is what a crash leaves
		// of an unused file, twice ValueLogFileSize. Badger removes it at this
		// length as soon as it is not the last.
		return f.Truncate(vlogHeader)
	}
	var number int
	if _, err := fmt.Sscanf(filepath.Base(last), "%06d.vlog", &number); err != nil {
		return corrupt(last, -1, "a value-log file of unknown name")
	}
	empty := make([]byte, vlogHeader) // key 0: not encrypted
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%06d.vlog", number+1)), empty, 0o644); err != nil {
		return fmt.Errorf("persist: opening segment: %w", vfs.DiskFull(err))
	}
	return nil
}

// storeFiles returns the paths of a directory's files of one kind by their numbers:
// six digits, so longer names are not met. (Glob would take a directory's name for a
// pattern.)
func storeFiles(dir, suffix string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("persist: listing segment: %w", err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}

// startStore has Badger opened under its own recover: damaged files make it
// panic here and there, and a page that the disk can't give is a fault. Badger begins a new value
// log at each opening, so the hole begins behind that one's header.
func startStore(dir string, logger *slog.Logger, open opener) (s *store, err error) {
	s = &store{dir: dir, log: &storeLog{}}
	s.log.logger = logger.With("segment", filepath.Base(dir))
	s.log.store = s
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("badger panicked: %v", p)
		}
	}()
	if s.db, err = open(s); err != nil {
		return nil, err
	}
	s.hole = hole{dir: dir, end: vlogHeader, full: vlogHeader}
	return s, nil
}
