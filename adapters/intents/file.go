package intents

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/firstseen/firstseen/dedup"
)

// An File keeps intents in one file of its own, beside an embedded engine.
// It implements Store. One process has it open at a time.
//
// The file is a log of frames: length of the payload and CRC32C of it (4 bytes
// each, little endian), then the payload, a JSON object. An incomplete frame at
// the end is what a crash left of a write that nobody was told of; any other
// damage is dedup.ErrCorrupt.
type File struct {
	path string

	mu struct {
		sync.Mutex
		file    *os.File
		intents map[string]keptIntent
		size    int64 // of the file
		live    int64 // what the intents take in it
		written uint64
		failed  error // of a write or sync: what is on disk is not known
	}
	syncing struct {
		sync.Mutex
		synced uint64 // frames; those who wait share the sync that comes next
	}
}

type keptIntent struct {
	Intent
	bytes int64 // of its frames
}

type intentFrame struct {
	Begin   *Intent  `json:"begin,omitempty"`
	End     []byte   `json:"end,omitempty"`     // key
	Resolve []byte   `json:"resolve,omitempty"` // key
	Outcome *Outcome `json:"outcome,omitempty"`
}

const (
	intentHead     = 8
	maxIntentFrame = 16 << 20
	compactAbove   = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Open opens the file at path, or makes it. dedup.ErrLocked says that
// another process has it open, dedup.ErrCorrupt that it is damaged.
func Open(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("intents: opening: %w", err)
	}
	if err := lockFile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("intents: opening %s: %w", path, err), f.Close())
	}
	i := &File{path: path}
	i.mu.file, i.mu.intents = f, map[string]keptIntent{}
	err = i.load()
	if err == nil {
		err = syncDir(path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("intents: opening %s: %w", path, err), f.Close())
	}
	return i, nil
}

// Read returns the intents in the file at path, oldest first, also while a
// process has it open: it takes no lock and changes nothing. dedup.ErrCorrupt says
// that the file is damaged.
func Read(path string) ([]Intent, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("intents: reading: %w", err)
	}
	i := &File{path: path}
	i.mu.intents = map[string]keptIntent{}
	if _, err := i.parse(data); err != nil {
		return nil, fmt.Errorf("intents: reading %s: %w", path, err)
	}
	return i.List(context.Background())
}

// load reads all frames and cuts off an unfinished one at the end.
func (i *File) load() error {
	data, err := io.ReadAll(i.mu.file)
	if err != nil {
		return err
	}
	at, err := i.parse(data)
	if err != nil {
		return err
	}
	i.mu.size = int64(at)
	if at == len(data) {
		return nil
	}
	return errors.Join(i.mu.file.Truncate(int64(at)), i.mu.file.Sync())
}

// parse applies all whole frames and returns where they end.
func (i *File) parse(data []byte) (at int, err error) {
	for at < len(data) {
		frame, n, ok := readFrame(data[at:])
		if !ok {
			if unfinished(data[at:]) {
				break
			}
			return 0, &dedup.CorruptError{File: i.path, Offset: int64(at), Detail: "a frame's checksum is wrong; intents after it are not known"}
		}
		i.applyLocked(frame, int64(n))
		at += n
	}
	return at, nil
}

func readFrame(data []byte) (f intentFrame, n int, ok bool) {
	if len(data) < intentHead {
		return f, 0, false
	}
	size := binary.LittleEndian.Uint32(data)
	if size == 0 || size > maxIntentFrame || uint64(len(data)) < intentHead+uint64(size) {
		return f, 0, false
	}
	payload := data[intentHead : intentHead+size]
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(data[4:]) {
		return f, 0, false
	}
	if err := json.Unmarshal(payload, &f); err != nil {
		return f, 0, false
	}
	return f, intentHead + int(size), true
}

// unfinished says that rest, which begins with no whole frame, is what a crash
// leaves: a frame that goes on behind the end, or space that was never written.
func unfinished(rest []byte) bool {
	if len(rest) < intentHead {
		return true
	}
	size := uint64(binary.LittleEndian.Uint32(rest))
	if size != 0 && size <= maxIntentFrame && intentHead+size >= uint64(len(rest)) {
		return true
	}
	return len(bytes.Trim(rest, "\x00")) == 0
}

func (i *File) applyLocked(f intentFrame, bytes int64) {
	switch {
	case f.Begin != nil:
		i.mu.intents[string(f.Begin.Key)] = keptIntent{*f.Begin, bytes}
		i.mu.live += bytes
	case f.Outcome != nil:
		if in, ok := i.mu.intents[string(f.Resolve)]; ok {
			in.Outcome = *f.Outcome
			in.bytes += bytes
			i.mu.intents[string(f.Resolve)] = in
			i.mu.live += bytes
		}
	default:
		i.mu.live -= i.mu.intents[string(f.End)].bytes
		delete(i.mu.intents, string(f.End))
	}
}

// Begin implements Store.
func (i *File) Begin(ctx context.Context, in Intent) (Intent, error) {
	if err := ctx.Err(); err != nil {
		return Intent{}, context.Cause(ctx)
	}
	in.Key = slices.Clone(in.Key)
	i.mu.Lock()
	if prior, ok := i.mu.intents[string(in.Key)]; ok {
		i.mu.Unlock()
		return prior.Intent, ErrInDoubt
	}
	frame, err := i.appendLocked(intentFrame{Begin: &in})
	i.mu.Unlock()
	if err != nil {
		return Intent{}, err
	}
	return in, i.sync(frame)
}

// End implements Store.
func (i *File) End(_ context.Context, key []byte) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, ok := i.mu.intents[string(key)]; !ok {
		return i.mu.failed
	}
	_, err := i.appendLocked(intentFrame{End: key})
	return err
}

// Resolve implements Store.
func (i *File) Resolve(_ context.Context, key []byte, o Outcome) error {
	if err := CheckOutcome(o); err != nil {
		return err
	}
	i.mu.Lock()
	if _, ok := i.mu.intents[string(key)]; !ok {
		i.mu.Unlock()
		return ErrNoIntent
	}
	frame, err := i.appendLocked(intentFrame{Resolve: key, Outcome: &o})
	i.mu.Unlock()
	if err != nil {
		return err
	}
	return i.sync(frame)
}

// List implements Store.
func (i *File) List(context.Context) ([]Intent, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.mu.failed != nil {
		return nil, i.mu.failed
	}
	all := make([]Intent, 0, len(i.mu.intents))
	for _, in := range i.mu.intents {
		all = append(all, in.Intent)
	}
	slices.SortFunc(all, func(a, b Intent) int {
		if c := a.Begun.Compare(b.Begun); c != 0 {
			return c
		}
		return bytes.Compare(a.Key, b.Key)
	})
	return all, nil
}

// Close ends the file. Calls after it fail with dedup.ErrClosed.
func (i *File) Close() error {
	i.syncing.Lock()
	defer i.syncing.Unlock()
	i.mu.Lock()
	defer i.mu.Unlock()
	if errors.Is(i.mu.failed, dedup.ErrClosed) {
		return dedup.ErrClosed
	}
	failed := i.mu.failed
	i.mu.failed = fmt.Errorf("intents: %s: %w", i.path, dedup.ErrClosed)
	if failed != nil {
		return i.mu.file.Close()
	}
	return errors.Join(i.mu.file.Sync(), i.mu.file.Close())
}

// appendLocked writes a frame and returns its number, to be given to sync.
func (i *File) appendLocked(f intentFrame) (uint64, error) {
	if i.mu.failed != nil {
		return 0, i.mu.failed
	}
	b, err := encodeFrame(f)
	if err != nil {
		return 0, err
	}
	if _, err := i.mu.file.WriteAt(b, i.mu.size); err != nil {
		return 0, i.failLocked("writing", err)
	}
	i.mu.size += int64(len(b))
	i.mu.written++
	i.applyLocked(f, int64(len(b)))
	if i.mu.size > compactAbove && i.mu.size > 4*i.mu.live {
		if err := i.compactLocked(); err != nil {
			return 0, i.failLocked("compacting", err)
		}
	}
	return i.mu.written, nil
}

func encodeFrame(f intentFrame) ([]byte, error) {
	payload, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("intents: encoding an intent: %w", err)
	}
	if len(payload) > maxIntentFrame {
		return nil, fmt.Errorf("intents: an intent of %d bytes, at most %d are kept", len(payload), maxIntentFrame)
	}
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, intentHead+len(payload)), uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(payload, castagnoli))
	return append(b, payload...), nil
}

// failLocked refuses all that comes (I7): after a failed write or sync it is not
// known what is on disk.
func (i *File) failLocked(doing string, err error) error {
	i.mu.failed = fmt.Errorf("intents: %s %s: %w: %w", doing, i.path, dedup.ErrFailed, err)
	return i.mu.failed
}

// sync returns when the frame with that number is durable. One caller syncs for
// all whose frames are written (group commit).
func (i *File) sync(frame uint64) error {
	i.syncing.Lock()
	defer i.syncing.Unlock()
	if i.syncing.synced >= frame {
		return nil
	}
	i.mu.Lock()
	written, file, failed := i.mu.written, i.mu.file, i.mu.failed
	i.mu.Unlock()
	if failed != nil {
		return failed
	}
	if err := file.Sync(); err != nil {
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.mu.file != file {
			return i.mu.failed // compaction wrote and synced all there is
		}
		return i.failLocked("syncing", err)
	}
	i.syncing.synced = written
	return nil
}

// compactLocked writes the intents that have not ended to a new file, which
// replaces the old one when it is durable.
func (i *File) compactLocked() error {
	var all []byte
	for key, in := range i.mu.intents {
		b, err := encodeFrame(intentFrame{Begin: &in.Intent})
		if err != nil {
			return err
		}
		in.bytes = int64(len(b))
		i.mu.intents[key] = in
		all = append(all, b...)
	}
	tmp := i.path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(all)
	err = errors.Join(err, f.Sync(), lockFile(f))
	if err == nil {
		err = os.Rename(tmp, i.path)
	}
	if err == nil {
		err = syncDir(i.path)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	old := i.mu.file
	i.mu.file, i.mu.size, i.mu.live = f, int64(len(all)), int64(len(all))
	return old.Close()
}

func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
