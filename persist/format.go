package persist

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/crc32c"
	"github.com/firstseen/firstseen/internal/vfs"
)

// Names in an engine's directory.
const (
	// LockName is the file whose flock says that the directory is in use.
	LockName = "LOCK"
	// IdentityName is written once, when the directory is made.
	IdentityName = "IDENTITY"
	// ManifestName is replaced atomically at every change of what is stored.
	ManifestName = "MANIFEST"
	// JournalName is the ring of marks that are not yet in runs; journal.MarkSuffix
	// behind it names the file that tells how far it reaches.
	JournalName = "journal"
	// CreatingName marks a directory whose making was not finished: nothing was ever
	// marked in it, so it is made anew.
	CreatingName = "CREATING"

	segmentPrefix  = "seg-"    // seg-%08d, a Badger directory
	resultsPrefix  = "res-"    // res-%08d, one too
	snapshotPrefix = "filter-" // filter-%08d.snap
	snapshotSuffix = ".snap"
)

// A sealed file (IDENTITY, MANIFEST) is, all numbers little endian:
//
//	offset  bytes  what
//	0       8      magic
//	8       4      version of the body
//	12      4      length n of the body
//	16      n      body
//	16+n    4      CRC32C of everything before
//
// Every version keeps this frame, so that damage (ErrCorrupt) is told from a
// newer version (ErrIncompatible): the checksum is looked at first.
const (
	identityMagic = "1stsIDEN"
	manifestMagic = "1stsMANI"

	identityVersion = 1
	manifestVersion = 2

	sealHeader   = 16
	sealOverhead = sealHeader + 4

	// maxSealedFile bounds what is read into memory. A manifest of a thousand
	// segments with 256 runs of 100 values each is 300 MB; real ones are below 1 MB.
	maxSealedFile = 1 << 30
)

// A Badger key of a segment is 1 byte keyPrefix, the run's ID (8 bytes, big
// endian), the value's number (4 bytes, big endian); the index of a run has the
// number indexNumber. The prefix keeps clear of Badger's own "!badger!" keys.
const (
	keyPrefix   = 'r'
	keyLen      = 1 + 8 + 4
	indexNumber = 1<<32 - 1
)

const (
	// blockKeys is how many keys a block holds on average. Fewer cost index
	// memory (4 bytes per block), more cost time at every confirm (docs/decisions/015).
	blockKeys = 16
	// blockSum is the length of the CRC32C that ends a block.
	blockSum = 4
	// loBytes is the second part of a record of the forms 0 to 2, see layout.
	loBytes = 8
	// fixedRecord is the longest such record.
	fixedRecord = 8 + loBytes
	// maxZeros bounds what an order may lack at its low end: the shard's bits.
	maxZeros = 16
	// valueLimit is the length a value is filled up to, unless a single block is
	// longer. The longer it is, the longer the collector's stops wait for a
	// page-faulting copy. Readers take any length.
	valueLimit = 1 << 20
	// maxRecord is the longest key of a variable record: its length has one byte.
	maxRecord = 255
)

func checksum(p []byte) uint32 { return crc32c.Sum(p) }

// seal frames body as a sealed file.
func seal(magic string, version uint32, body []byte) []byte {
	p := make([]byte, 0, len(body)+sealOverhead)
	p = append(p, magic...)
	p = binary.LittleEndian.AppendUint32(p, version)
	p = binary.LittleEndian.AppendUint32(p, uint32(len(body)))
	p = append(p, body...)
	return binary.LittleEndian.AppendUint32(p, checksum(p))
}

// unseal checks the frame of a sealed file and returns its body. known is the
// newest version that the caller reads.
func unseal(data []byte, magic string, known uint32, file string) (body []byte, err error) {
	if len(data) < sealOverhead {
		return nil, corrupt(file, 0, "%d bytes, at least %d expected", len(data), sealOverhead)
	}
	if string(data[:8]) != magic {
		return nil, corrupt(file, 0, "magic %q, %q expected", data[:8], magic)
	}
	if n := binary.LittleEndian.Uint32(data[12:]); uint64(n)+sealOverhead != uint64(len(data)) {
		return nil, corrupt(file, 12, "length %d in a file of %d bytes", n, len(data))
	}
	end := len(data) - 4
	if want, got := binary.LittleEndian.Uint32(data[end:]), checksum(data[:end]); want != got {
		return nil, corrupt(file, 0, "checksum %08x, %08x expected", got, want)
	}
	switch v := binary.LittleEndian.Uint32(data[8:]); {
	case v == 0:
		return nil, corrupt(file, 8, "version 0")
	case v > known:
		return nil, fmt.Errorf("persist: %s has version %d, this program knows up to %d: %w", file, v, known, dedup.ErrIncompatible)
	}
	return data[sealHeader:end], nil
}

func corrupt(file string, offset int64, format string, args ...any) error {
	return &dedup.CorruptError{File: file, Offset: offset, Detail: fmt.Sprintf(format, args...)}
}

// readSealed returns the content of a sealed file.
func readSealed(fsys vfs.FS, path string) ([]byte, error) {
	info, err := fsys.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("persist: reading %s: %w", path, err)
	}
	if info.Size() > maxSealedFile {
		return nil, corrupt(path, -1, "%d bytes long", info.Size())
	}
	return vfs.ReadFile(fsys, path)
}

// numbered lists the numbers of the entries of dir that are called prefix,
// eight digits or more, suffix; in the order of their names.
func numbered(entries []fs.DirEntry, prefix, suffix string, dirs bool) []uint64 {
	var ids []uint64
	for _, e := range entries {
		s, ok := strings.CutPrefix(e.Name(), prefix)
		if !ok || e.IsDir() != dirs {
			continue
		}
		if s, ok = strings.CutSuffix(s, suffix); !ok || len(s) < 8 {
			continue
		}
		// Only names that we would give ourselves: no sign, no surplus zeroes.
		if id, err := strconv.ParseUint(s, 10, 64); err == nil && fmt.Sprintf("%08d", id) == s {
			ids = append(ids, id)
		}
	}
	return ids // ReadDir sorts by name; sorted again by callers that need numbers
}

// IsSnapshot reports whether a file's name is one that a snapshot has.
func IsSnapshot(name string) bool {
	s, ok := strings.CutPrefix(name, snapshotPrefix)
	s, cut := strings.CutSuffix(s, snapshotSuffix)
	id, err := strconv.ParseUint(s, 10, 64)
	return ok && cut && err == nil && fmt.Sprintf("%08d", id) == s
}

func numberedPath(dir, prefix string, id uint64, suffix string) string {
	return filepath.Join(dir, fmt.Sprintf("%s%08d%s", prefix, id, suffix))
}
