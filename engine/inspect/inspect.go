package inspect

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"path/filepath"
	"slices"
	"time"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/vfs"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/persist/journal"
)

// An Inspection tells what a directory holds, without opening it for use.
type Inspection struct {
	Dir           string        `json:"dir"`
	FormatVersion uint32        `json:"format_version"`
	Created       time.Time     `json:"created"`
	Mode          string        `json:"mode"`
	UntrustedKeys bool          `json:"untrusted_keys"`
	Shards        int           `json:"shards"`
	Window        time.Duration `json:"window_ns"`
	Span          time.Duration `json:"span_ns"`
	Held          time.Duration `json:"held_ns"`
	Clock         time.Time     `json:"clock"`
	Clean         bool          `json:"clean"`
	Keys          uint64        `json:"keys"`              // in runs and in the journal, replays counted twice
	Bytes         int64         `json:"bytes"`             // of the whole directory, as allocated on disk
	Generations   []Generation  `json:"generations"`       // oldest first, the live one last
	Results       []Results     `json:"results,omitempty"` // as the manifest promises them
	Journal       Journal       `json:"journal"`
	JournalKeys   uint64        `json:"journal_keys"` // marks that a replay would bring
}

// An inspector has a directory open for looking at it.
type inspector struct {
	dir      string
	fs       vfs.FS
	lock     *persist.DirLock
	identity persist.Identity
	manifest *persist.Manifest
}

// inspectDir locks dir and reads its identity and manifest. problems are what
// stands in the way, or nil.
func inspectDir(dir string) (*inspector, error) {
	i := &inspector{dir: dir, fs: vfs.Looking(vfs.OS())}
	if _, err := i.fs.Stat(filepath.Join(dir, persist.IdentityName)); errors.Is(err, fs.ErrNotExist) {
		if _, err := i.fs.Stat(filepath.Join(dir, persist.ManifestName)); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s is no firstseen directory: %w", dir, fs.ErrNotExist)
		}
	}
	if _, err := i.fs.Stat(filepath.Join(dir, persist.CreatingName)); err == nil {
		return nil, fmt.Errorf("%s was never finished and holds nothing (opening it makes it anew): %w", dir, fs.ErrNotExist)
	}
	var err error
	if i.lock, err = persist.LockDir(dir); err != nil {
		return nil, err
	}
	i.identity, err = persist.ReadIdentity(i.fs, dir)
	if err == nil {
		i.manifest, err = persist.ReadManifest(i.fs, dir)
		err = persist.Required(err, filepath.Join(dir, persist.ManifestName))
	} else {
		err = persist.Required(err, filepath.Join(dir, persist.IdentityName))
	}
	if err == nil && len(i.manifest.Covered) != int(i.identity.Shards) {
		err = &dedup.CorruptError{File: filepath.Join(dir, persist.ManifestName), Offset: -1,
			Detail: fmt.Sprintf("it has %d shards, the identity %d", len(i.manifest.Covered), i.identity.Shards)}
	}
	if err != nil {
		return i, err
	}
	return i, nil
}

func (i *inspector) close() error { return i.lock.Unlock() }

// scanJournal reads the journal as an opening would and counts the marks that a
// replay would bring.
func (i *inspector) scanJournal(ctx context.Context) (keys uint64, found journal.Replayed, state journal.State, err error) {
	var look journalLook
	err = look.read(ctx, i, filepath.Join(i.dir, persist.JournalName), nil)
	return look.keys, look.found, look.state, err
}

// Inspect reads the manifest, the journal and the snapshots of dir and changes
// nothing; the medium may be read-only. Errors: fs.ErrNotExist, it is no firstseen directory; ErrLocked;
// ErrCorrupt; ErrIncompatible.
func Inspect(ctx context.Context, dir string) (out Inspection, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("engine: inspect %s: %w", dir, err)
		}
	}()
	i, err := inspectDir(dir)
	if i != nil {
		defer i.close()
	}
	if err != nil {
		return out, err
	}
	m := i.manifest
	out = Inspection{
		Dir: dir, FormatVersion: i.identity.Version, Created: time.Unix(0, i.identity.Created),
		Mode: mode(i.identity), UntrustedKeys: i.identity.Untrusted, Shards: int(i.identity.Shards),
		Window: time.Duration(m.Window), Span: time.Duration(m.Span), Clock: time.Unix(0, m.Clock),
	}
	keys, found, state, err := i.scanJournal(ctx)
	if err != nil {
		return out, err
	}
	out.Clean, out.JournalKeys = found.Clean, keys
	out.Journal = Journal{RingBytes: state.RingBytes, UsedBytes: int64(found.End - m.Tail), Durable: state.Durable}
	if found.Clean { // else some of it may lie in the page cache only
		out.Journal.Durable = found.End
	}
	out.Keys = keys
	for k := range m.Generations {
		g := &m.Generations[k]
		info := Generation{Number: g.Number, Start: time.Unix(0, g.Start), End: endTime(g.End), Keys: g.Keys}
		info.Runs, info.Bytes = g.Stored()
		info.Fill, info.Snapshot = i.fill(g.Number)
		out.Generations = append(out.Generations, info)
		out.Keys += g.Keys
	}
	for _, r := range m.Results {
		out.Results = append(out.Results, Results{Generation: r.Generation, Dir: filepath.Base(persist.ResultsPath(dir, r.ID)), Records: r.Count, Lost: r.Lost})
	}
	if len(m.Generations) > 0 {
		out.Held = time.Duration(m.Clock - m.Generations[0].Start)
	}
	out.Bytes, err = vfs.DiskBytes(dir)
	return out, err
}

// fill returns the share of set bits in a generation's snapshot, if there is one
// that can be read.
func (i *inspector) fill(number uint64) (share float64, ok bool) {
	set, all := uint64(0), uint64(0)
	_, err := i.eachColumn(number, func(column []byte) {
		for ; len(column) >= 8; column = column[8:] {
			set += uint64(bits.OnesCount64(binary.LittleEndian.Uint64(column)))
			all += 64
		}
	})
	if err != nil || all == 0 {
		return 0, false
	}
	return float64(set) / float64(all), true
}

// eachColumn reads all of a generation's snapshot and returns the position of
// the journal that it reaches to.
func (i *inspector) eachColumn(number uint64, look func(column []byte)) (journal.Pos, error) {
	f, err := persist.OpenSnapshotFile(i.fs, i.dir, number)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	path := persist.SnapshotPath(i.dir, number)
	snap, err := bloom.OpenSnapshot(f, size, path)
	if err != nil {
		return 0, err
	}
	h := snap.Header()
	if h.Generation != number || len(h.Positions) != int(i.identity.Shards) {
		return 0, &dedup.CorruptError{File: path, Offset: 0,
			Detail: fmt.Sprintf("it is of generation %d and %d shards", h.Generation, len(h.Positions))}
	}
	var column []byte
	for shard := range h.Positions {
		if column, err = snap.ReadShard(shard, column); err != nil {
			return 0, err
		}
		look(column)
	}
	return slices.Min(h.Positions), nil
}
