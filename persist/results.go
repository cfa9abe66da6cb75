package persist

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/firstseen/firstseen/internal/crc32c"
)

// Results are the answers that were kept with the marks of one generation: a Badger
// directory res-%08d. Records are only ever added. A key's newest record is the one that
// counts, and the older ones stay, so that count and sum of what was written up to a
// number tell whether all of it is still there: Badger drops damaged records without
// an error. All methods may be called at once, but for Write, which one goroutine calls
// at a time.
type Results struct {
	config ResultsConfig
	path   string
	store  *store
	pins   pins       // held while the store is used
	names  []string   // of the files at the last Sync; guarded by sync
	sync   sync.Mutex // held by Sync, across the disk's; a leaf
	close  struct {
		sync.Once
		err error
	}
}

// ResultsConfig says where results are.
type ResultsConfig struct {
	Dir    string // of the engine; the results are the directory res-%08d in it
	ID     uint64
	Logger *slog.Logger // nil: none
}

// ResultKind says what a record tells of its key.
type ResultKind uint8

const (
	ResultKept      ResultKind = 1 // Data is the result
	ResultTooLarge  ResultKind = 2 // it was not kept
	ResultForgotten ResultKind = 3 // it is being forgotten: nobody knows whether the mark still stands
	ResultNone      ResultKind = 4 // what was there counts no more
)

// A ResultRecord is what is kept of one key.
type ResultRecord struct {
	Key  []byte // see AppendResultKey
	Kind ResultKind
	Data []byte
}

// A ResultsWrite is the records of one call. They have a number in common, and no two of
// them the same key.
type ResultsWrite struct {
	Seq     uint64
	Records []ResultRecord
}

// ResultsMeta is what the manifest promises of results: those numbered up to Seq are Count
// records whose sums add up to Sum. Those above Seq are promised by frames of the journal, or
// by nobody.
type ResultsMeta struct {
	ID, Generation uint64
	Seq            uint64
	// Settled is the number up to which calls have marked their keys, durably, or taken the
	// records back. A record above it whose key is not marked is an orphan, which a crash left
	// between result and mark.
	Settled    uint64
	Count, Sum uint64
	Lost       bool // records are known to be missing
}

// A Badger key of results is 1 byte resultPrefix, the form, and the key's record: hash (8
// bytes) and rest (8) of the fixed forms, the bytes of the others. Its version in Badger is
// the number of the write. The value is
//
//	offset  bytes  what
//	0       1      kind
//	1       n      the result, with ResultKept
//	1+n     4      CRC32C of number (8 bytes), Badger key, kind and result
//
// Number and key are under the checksum so that a whole value of another key or another write
// is found out: Badger finds values by places that it has stored.
const (
	resultPrefix   = 'a'
	resultOverhead = 1 + 4
)

// AppendResultKey appends the Badger key of a key: record for the variable forms, hi and lo
// for the others, whose record is nil.
func AppendResultKey(p []byte, form uint8, hi, lo uint64, record []byte) []byte {
	p = append(p, resultPrefix, form)
	if record != nil {
		return append(p, record...)
	}
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(p, hi), lo)
}

// SplitResultKey is the inverse of AppendResultKey; fixed says that the form is a fixed one.
func SplitResultKey(key []byte, isFixed func(form uint8) bool) (form uint8, hi, lo uint64, record []byte, ok bool) {
	if len(key) < 3 || key[0] != resultPrefix {
		return 0, 0, 0, nil, false
	}
	if form = key[1]; !isFixed(form) {
		return form, 0, 0, key[2:], true
	}
	if len(key) != 2+fixedRecord {
		return 0, 0, 0, nil, false
	}
	return form, binary.LittleEndian.Uint64(key[2:]), binary.LittleEndian.Uint64(key[10:]), nil, true
}

// ResultSum is what a record adds to the sum. Key and number do, without the value: so an
// opening can compare sums by reading Badger's tree alone. Values have their own checksum.
func ResultSum(key []byte, seq uint64) uint64 { return hashPair(hashBytes(key), seq) }

// Sum adds up what the records of a write add to the sum.
func (w *ResultsWrite) Sum() (sum uint64) {
	for i := range w.Records {
		sum += ResultSum(w.Records[i].Key, w.Seq)
	}
	return sum
}

func appendResult(p []byte, seq uint64, r *ResultRecord) []byte {
	p = append(append(p, byte(r.Kind)), r.Data...)
	return binary.LittleEndian.AppendUint32(p, resultCRC(seq, r.Key, p))
}

func resultCRC(seq uint64, key, kindAndData []byte) uint32 {
	var number [8]byte
	binary.LittleEndian.PutUint64(number[:], seq)
	return crc32c.Update(crc32c.Update(crc32c.Sum(number[:]), key), kindAndData)
}

// parseResult checks a value and splits it; data is a part of value.
func parseResult(seq uint64, key, value []byte) (kind ResultKind, data []byte, ok bool) {
	end := len(value) - 4
	if end < 1 || binary.LittleEndian.Uint32(value[end:]) != resultCRC(seq, key, value[:end]) {
		return 0, nil, false
	}
	return ResultKind(value[0]), value[1:end], true
}

// ResultsPath is the directory of results id of the engine's directory dir.
func ResultsPath(dir string, id uint64) string { return numberedPath(dir, resultsPrefix, id, "") }

// ListResults returns the numbers of the results in dir, ascending.
func ListResults(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		return nil, fmt.Errorf("persist: listing results: %w", err)
	}
	ids := numbered(entries, resultsPrefix, "", true)
	slices.Sort(ids)
	return ids, nil
}

func newResults(c ResultsConfig) *Results {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Results{config: c, path: ResultsPath(c.Dir, c.ID)}
	r.pins.drained = make(chan struct{}, 1)
	return r
}

// CreateResults makes new results, which must not exist, and makes that durable: a manifest
// names them before anything is written there, and from then on a missing directory is damage.
func CreateResults(c ResultsConfig) (*Results, error) {
	r := newResults(c)
	var err error
	if r.store, err = createResultStore(r.path, r.config.Logger); err != nil {
		return nil, err
	}
	if err := errors.Join(syncTree(r.path), syncPath(c.Dir)); err != nil {
		return nil, errors.Join(fmt.Errorf("persist: creating results %s: %w", r.path, err), r.Close())
	}
	return r, nil
}

// OpenResults opens results. What is wrong with their files is a *dedup.CorruptError;
// whether all records are there only a Scan can tell.
func OpenResults(c ResultsConfig) (*Results, error) {
	r := newResults(c)
	var err error
	if r.store, err = openResultStore(r.path, r.config.Logger); err != nil {
		return nil, err
	}
	return r, nil
}

// ID returns the number of the results.
func (r *Results) ID() uint64 { return r.config.ID }

// Path returns their directory.
func (r *Results) Path() string { return r.path }

// Close waits for the calls under way and closes the store. Later calls give ErrRetired. It
// may be called again.
func (r *Results) Close() error {
	r.close.Do(func() {
		r.pins.drain()
		r.close.err = r.store.close()
	})
	return r.close.err
}

// Remove closes the results and removes their directory. The manifest must not name them
// any more.
func (r *Results) Remove() error {
	closeErr := r.Close() // nothing is left to lose
	if err := RemoveResultsDir(r.config.Dir, r.config.ID); err != nil {
		return errors.Join(err, closeErr)
	}
	return nil
}

// RemoveResultsDir removes the directory of results that are not open, and makes that
// durable. There need not be one.
func RemoveResultsDir(dir string, id uint64) error {
	path := ResultsPath(dir, id)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("persist: removing results: %w", err)
	}
	if err := syncPath(dir); err != nil {
		return fmt.Errorf("persist: removing results %s: %w", path, err)
	}
	return nil
}
