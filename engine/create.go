package engine

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/nanotime"
	"github.com/firstseen/firstseen/internal/vfs"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/persist/journal"
)

// identify reads the directory's identity, or creates the directory's files if it is new. The
// directory is locked. CREATING is looked for first: beside it any other file, an identity too,
// is what an interrupted creation left.
func (e *Engine) identify() error {
	if _, err := e.fs.Stat(filepath.Join(e.dir, persist.CreatingName)); err == nil {
		return e.create()
	}
	id, err := persist.ReadIdentity(e.fs, e.dir)
	if errors.Is(err, fs.ErrNotExist) {
		name, err := e.remains()
		if err != nil {
			return err
		}
		if name != "" {
			return e.errNoIdentity(name)
		}
		return e.create()
	}
	if err != nil {
		return err
	}
	return e.accept(id)
}

// accept checks the options that can't be changed: they decide where a key's marks lie. With
// another number of shards or another hash every mark would be looked for in a wrong place, and
// duplicates would be Fresh. Shards of 0 asks for what is there.
func (e *Engine) accept(id persist.Identity) error {
	var problems []error
	if e.opts.Shards != 0 && e.opts.Shards != int(id.Shards) {
		problems = append(problems, fmt.Errorf("it has %d shards, Shards is %d", id.Shards, e.opts.Shards))
	}
	if (e.opts.Mode == Approximate) != id.Approximate {
		problems = append(problems, fmt.Errorf("its mode is %v, Mode is %v", modeOf(id), e.opts.Mode))
	}
	if e.opts.UntrustedKeys != id.Untrusted {
		problems = append(problems, fmt.Errorf("it was made with UntrustedKeys %v", id.Untrusted))
	}
	if len(problems) > 0 {
		return fmt.Errorf("%w: %w", dedup.ErrIncompatible, errors.Join(problems...))
	}
	e.id, e.opts.Shards = id, int(id.Shards)
	e.hasher = hash.New(id.Seed, id.Untrusted)
	return nil
}

func modeOf(id persist.Identity) Mode {
	if id.Approximate {
		return Approximate
	}
	return Exact
}

// remains returns the name of a file of ours in a directory without identity, or "" if there is
// none. One is damage: to create a new engine there would be a silent new start (I5). Each kind is
// looked for, since any one of them may be all that is left.
func (e *Engine) remains() (string, error) {
	for _, name := range []string{persist.ManifestName, persist.JournalName, persist.JournalName + journal.MarkSuffix} {
		if _, err := e.fs.Stat(filepath.Join(e.dir, name)); err == nil {
			return name, nil
		}
	}
	ids, err := persist.ListSegmentDirs(e.dir)
	if err != nil {
		return "", err
	}
	if len(ids) > 0 {
		return filepath.Base(persist.SegmentPath(e.dir, ids[0])), nil
	}
	if ids, err = persist.ListResults(e.dir); err != nil {
		return "", err
	}
	if len(ids) > 0 {
		return filepath.Base(persist.ResultsPath(e.dir, ids[0])), nil
	}
	snaps, err := persist.ListSnapshots(e.fs, e.dir)
	if err != nil || len(snaps) == 0 {
		return "", err
	}
	return filepath.Base(persist.SnapshotPath(e.dir, snaps[0])), nil
}

// create makes the directory's files. A marker, CREATING, comes first and goes last. While it
// is there nothing can have been marked, so an opening that finds it throws away what an
// interrupted one has left and begins anew. Without it a missing file is damage (I5):
//
//  1. The marker, durable.
//  2. What an interrupted creation left is removed. There are no segments, results or snapshots
//     among it: those are made by an engine that has opened, and by then the marker is gone.
//  3. Manifest, identity and journal, each durable before the next.
//  4. The marker goes, and the directory is synced. A crash before that costs an empty directory.
//
// The open that follows reads all of it as it reads any directory, so there is one way to open.
func (e *Engine) create() error {
	// The caller knows of marks, so this is the wrong directory or an emptied one.
	if e.opts.NotBefore > 0 {
		return &dedup.CorruptError{File: e.dir, Offset: -1,
			Detail: fmt.Sprintf("nothing was ever marked in it, position %d of the journal must be there", e.opts.NotBefore)}
	}
	marker := filepath.Join(e.dir, persist.CreatingName)
	if err := vfs.WriteFileAtomic(e.fs, marker, []byte(creatingText)); err != nil {
		return err
	}
	for _, name := range []string{persist.JournalName, persist.JournalName + journal.MarkSuffix, persist.ManifestName, persist.IdentityName} {
		if err := e.fs.Remove(filepath.Join(e.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// Who made the directory may not have made it durable.
	if err := e.fs.SyncDir(filepath.Dir(e.dir)); err != nil {
		return err
	}
	id := persist.Identity{
		Shards:      uint16(orDefault(e.opts.Shards, defaultShards)),
		Approximate: e.opts.Mode == Approximate,
		Untrusted:   e.opts.UntrustedKeys,
		Created:     time.Now().UnixNano(),
	}
	if _, err := rand.Read(id.Seed[:]); err != nil {
		return err
	}
	now, ok := nanotime.Of(e.opts.Now())
	if !ok {
		return nanotime.RangeError(e.opts.Now())
	}
	m := &persist.Manifest{
		Clock: now, Wall: now, Window: int64(e.opts.Window), Span: int64(e.opts.span()),
		Generations: []persist.GenerationMeta{{Number: firstNumber, Start: now}},
		Covered:     make([]journal.Pos, id.Shards),
		Capacity:    e.opts.Capacity,
	}
	if err := persist.WriteManifest(e.fs, e.dir, m); err != nil {
		return err
	}
	if err := persist.WriteIdentity(e.fs, e.dir, id); err != nil {
		return err
	}
	if err := e.accept(id); err != nil {
		return err
	}
	e.settleCapacity(m)
	// The ring's size follows from the capacity and the number of shards, both settled above.
	if err := e.openJournal(m); err != nil {
		return err
	}
	// Not a clean close: no frame was appended, and open is going to open it anew.
	err := e.journal.Close(false)
	e.journal = nil
	if err == nil {
		err = e.fs.Remove(marker)
	}
	if err == nil {
		err = e.fs.SyncDir(e.dir)
	}
	return err
}
