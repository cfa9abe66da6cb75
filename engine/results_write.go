package engine

import (
	"errors"
	"fmt"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/persist/journal"
)

// A resultPut is the records of one call on their way. The leader that writes it sets dir, seq,
// err and done with lead held, and the call reads them when it has lead.
type resultPut struct {
	records []persist.ResultRecord
	dir     *resultDir // where they went
	seq     uint64     // the number that all of them have; counts the puts of a directory, from 1
	err     error
	done    bool // a leader has had it, whatever became of it
}

// write writes the records of a call, as durable as Sync says, to the results of the live
// generation. The call must be settled, unless there is an error.
//
// This is group commit: a call queues its records and takes lead. If the caller that had lead
// before has written them, they are done; if not, it writes all that is queued.
func (r *results) write(records []persist.ResultRecord) (d *resultDir, seq uint64, err error) {
	p := &resultPut{records: records}
	r.queue.Lock()
	r.queue.puts = append(r.queue.puts, p)
	r.queue.Unlock()
	r.lead.Lock()
	defer r.lead.Unlock()
	if !p.done {
		r.queue.Lock()
		puts := r.queue.puts
		r.queue.puts = nil
		r.queue.Unlock()
		r.writeLocked(puts)
	}
	return p.dir, p.seq, p.err
}

// writeLocked writes what is queued with one sync. lead is held, by one of those who queued, and
// an error is everybody's: which records were written is not known.
func (r *results) writeLocked(puts []*resultPut) {
	d, err := r.liveDirLocked()
	if err == nil {
		err = r.putLocked(d, puts)
	}
	if err == nil && r.e.opts.Sync == SyncAlways {
		err = r.syncDir(d)
	}
	r.failed(err)
	for _, p := range puts {
		p.dir, p.err, p.done = d, err, true
	}
}

// putLocked numbers records and hands them to Badger. lead is held, so the numbers that are read
// first are still free when put is raised at the end. mu is not held meanwhile: those who write
// manifests must not wait for the disk behind it.
func (r *results) putLocked(d *resultDir, puts []*resultPut) error {
	bytes := int64(persist.ResultsRoom)
	writes := make([]persist.ResultsWrite, len(puts))
	d.mu.Lock()
	put := d.put
	for i, p := range puts {
		put.Seq++
		p.seq = put.Seq
		writes[i] = persist.ResultsWrite{Seq: put.Seq, Records: p.records}
		put.Count += uint64(len(p.records))
		put.Sum += writes[i].Sum()
		for k := range p.records {
			bytes += int64(len(p.records[k].Key)*2 + len(p.records[k].Data) + 64)
		}
	}
	d.mu.Unlock()
	if err := r.e.checkFree(bytes); err != nil {
		return err
	}
	if err := d.store.Write(writes); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.put = put
	for i := range writes {
		d.unsettled[writes[i].Seq] = true
	}
	return nil
}

// failed makes the engine refuse everything if it is no longer known what the results hold (I7).
func (r *results) failed(err error) {
	if err != nil && errors.Is(err, dedup.ErrFailed) {
		r.e.fail("writing results", err)
	}
}

// liveDirLocked returns the results of the live generation. A manifest names a new directory
// before anything is written to it, because that raises the manifest's version: a program that
// does not know results must not open the engine's directory from then on.
func (r *results) liveDirLocked() (*resultDir, error) {
	live := r.e.window.live()
	dirs := r.list()
	for _, d := range dirs {
		if d.generation == live && d.store != nil {
			return d, nil
		}
	}
	if err := r.e.checkFree(persist.ResultsRoom); err != nil {
		return nil, err
	}
	d := newResultDir(r.e.store.nextID(), live)
	var err error
	d.store, err = persist.CreateResults(persist.ResultsConfig{Dir: r.e.dir, ID: d.id, Logger: r.e.opts.Logger})
	if err != nil {
		return nil, fmt.Errorf("making results: %w", err)
	}
	// Whoever writes a manifest from here on names it.
	r.setList(append([]*resultDir{d}, dirs...))
	err = r.e.store.update(func(m *persist.Manifest) { m.Results = r.metas(m.Generations[0].Number) })
	if err != nil {
		// Also at a full disk: a later commit would find the directory in the list and write to
		// it, though no manifest names it.
		return nil, fmt.Errorf("promising results: %w: %w", dedup.ErrFailed, err)
	}
	return d, nil
}

// takeBack cancels the records of a call whose keys were not marked, and settles the call. It
// is durable when it returns. Otherwise a power loss could undo it and leave the records.
func (r *results) takeBack(d *resultDir, seq uint64, records []persist.ResultRecord) error {
	none := make([]persist.ResultRecord, len(records))
	for i := range records {
		none[i] = persist.ResultRecord{Key: records[i].Key, Kind: persist.ResultNone}
	}
	r.lead.Lock()
	defer r.lead.Unlock()
	// Not through the queue: they go to the directory that has the records, even if its generation
	// is not live any more.
	p := &resultPut{records: none}
	err := r.putLocked(d, []*resultPut{p})
	if err == nil {
		// Before the sync: whoever tells a manifest of what is settled syncs the results in between
		// (persistMoment, writeManifest), so the manifest never tells more than is on disk.
		d.settle(p.seq)
		d.settle(seq)
		err = r.syncDir(d)
	}
	if errors.Is(err, persist.ErrRetired) {
		return nil
	}
	if err != nil && !errors.Is(err, dedup.ErrFailed) {
		// What stands there must not be answered; the next opening takes it back.
		err = fmt.Errorf("taking results back: %w: %w", dedup.ErrFailed, err)
	}
	r.failed(err)
	return err
}

// promise appends a frame that says which records are there, in room that was set aside. It
// comes before the mark's frame, so no replay finds a mark without the promise of its result.
func (r *results) promise(d *resultDir, seq uint64, records []persist.ResultRecord, now int64) error {
	w := persist.ResultsWrite{Seq: seq, Records: records}
	f := journal.ResultsWritten{ID: d.id, Seq: seq, Sum: w.Sum(), Count: uint32(len(records))}.Frame(d.generation, now)
	_, err := r.e.journal.Append(f)
	return err
}
