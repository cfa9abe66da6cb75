package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/sabotage"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/persist/journal"
	"github.com/firstseen/firstseen/shards"
)

// resultPromises are what manifest and journal say of results, by ID.
type resultPromises map[uint64]*resultPromise

type resultPromise struct {
	persist.ResultsMeta                     // of the manifest, with what the journal adds
	base                persist.ResultsMeta // of the manifest alone
	seqs                map[uint64]bool     // numbers above Seq that the journal promises
}

func promisedResults(metas []persist.ResultsMeta) resultPromises {
	ps := resultPromises{}
	for _, m := range metas {
		ps[m.ID] = &resultPromise{ResultsMeta: m, base: m, seqs: map[uint64]bool{}}
	}
	return ps
}

// add takes a frame of the journal; ok is false if it can't be one of ours.
func (ps resultPromises) add(f *journal.Frame) (ok bool) {
	if len(f.Payload) != promiseBytes {
		return false
	}
	le := binary.LittleEndian
	id, seq, sum := le.Uint64(f.Payload), le.Uint64(f.Payload[8:]), le.Uint64(f.Payload[16:])
	p := ps[id]
	if p == nil {
		// A manifest names results before a frame does, until they are older than the window. Where
		// they are not, they are missing.
		m := persist.ResultsMeta{ID: id, Generation: f.Generation}
		p = &resultPromise{ResultsMeta: m, base: m, seqs: map[uint64]bool{}}
		ps[id] = p
	}
	if seq > p.Seq {
		p.seqs[seq] = true
		p.Count += uint64(f.Count)
		p.Sum += sum
	}
	return true
}

// A resultScan compares what is there with what was promised.
type resultScan struct {
	promise    *resultPromise
	found      persist.ResultsMeta // of what was promised
	all        persist.ResultsMeta // of all that is there
	unsettled  [][]byte            // keys of calls that may not have marked them
	candidates map[string]bool
}

func newResultScan(p *resultPromise) *resultScan {
	return &resultScan{promise: p, all: persist.ResultsMeta{ID: p.ID, Generation: p.Generation, Seq: p.Seq},
		candidates: map[string]bool{}}
}

func (s *resultScan) see(key []byte, seq uint64) error {
	sum := persist.ResultSum(key, seq)
	if seq <= s.promise.Seq || s.promise.seqs[seq] {
		s.found.Count++
		s.found.Sum += sum
	}
	s.all.Count++
	s.all.Sum += sum
	s.all.Seq = max(s.all.Seq, seq)
	if seq > s.promise.Settled && !s.candidates[string(key)] {
		s.candidates[string(key)] = true
		s.unsettled = append(s.unsettled, []byte(string(key)))
	}
	return nil
}

// missing tells what is not there, or nil.
func (s *resultScan) missing(path string) error {
	p := s.promise
	if s.found.Count == p.Count && s.found.Sum == p.Sum {
		return nil
	}
	return &dedup.CorruptError{File: path, Offset: -1, Detail: fmt.Sprintf(
		"%d results with sum %016x are there, %d with %016x were promised", s.found.Count, s.found.Sum, p.Count, p.Sum)}
}

// restoreResults opens the results of the window, after the replay. What is missing of them keeps
// nobody from opening: the keys are marked all the same, and their claims say ErrResultLost.
func (e *Engine) restoreResults(promises resultPromises) error {
	oldest := e.window.generations[0].number
	var dirs []*resultDir
	changed := false
	for id, p := range promises {
		e.store.manifest.NextID = max(e.store.manifest.NextID, id)
		if p.Generation < oldest {
			continue
		}
		d, news, err := e.restoreResultDir(p)
		if err != nil {
			return errors.Join(err, d.close())
		}
		dirs = append(dirs, d)
		e.results.setList(dirs)
		changed = changed || news
	}
	if err := e.removeOrphanedResults(promises, oldest); err != nil {
		return err
	}
	if !changed {
		return nil
	}
	if err := e.results.sync(); err != nil {
		return err
	}
	return e.store.update(func(m *persist.Manifest) { m.Results = e.results.metas(m.Generations[0].Number) })
}

func (d *resultDir) close() error {
	if d == nil || d.store == nil {
		return nil
	}
	return d.store.Close()
}

// restoreResultDir opens the results of one generation; news says that the manifest has to learn something.
func (e *Engine) restoreResultDir(p *resultPromise) (d *resultDir, news bool, err error) {
	d = newResultDir(p.ID, p.Generation)
	d.put, d.synced = p.base, p.base
	d.lost.Store(p.Lost)
	c := persist.ResultsConfig{Dir: e.dir, ID: p.ID, Logger: e.opts.Logger}
	if d.store, err = persist.OpenResults(c); err != nil {
		d.store = nil
		if !errors.Is(err, dedup.ErrCorrupt) {
			return d, false, err
		}
		e.lostResults(d, err)
		return d, !p.Lost, nil
	}
	scan := newResultScan(p)
	if err = d.store.Scan(scan.see); err == nil {
		err = scan.missing(d.store.Path())
	}
	if err != nil && !errors.Is(err, dedup.ErrCorrupt) {
		return d, false, err
	}
	if err != nil && !p.Lost && !sabotage.On(sabotage.IgnoreLostResults) {
		e.lostResults(d, err)
		news = true
	}
	d.put = scan.all // which is not known to be durable
	orphans, err := e.orphanedResults(d, scan.unsettled)
	if err == nil && len(orphans) > 0 && !sabotage.On(sabotage.KeepOrphans) {
		p := &resultPut{records: orphans}
		if err = e.results.putLocked(d, []*resultPut{p}); err == nil {
			d.settle(p.seq)
		}
		news = true
	}
	return d, news, err
}

func (e *Engine) lostResults(d *resultDir, err error) {
	e.results.tellLost(d, err)
	e.recovery.LostResults = append(e.recovery.LostResults, d.generation)
}

// orphanedResults makes records that take back the results of commits which a crash kept from
// marking their keys.
func (e *Engine) orphanedResults(d *resultDir, keys [][]byte) (orphans []persist.ResultRecord, err error) {
	var b shards.Batch
	for _, key := range keys {
		rec, _, ok, err := d.store.Get(key, nil)
		if err != nil && !errors.Is(err, dedup.ErrCorrupt) {
			return nil, err
		}
		if err == nil && (!ok || rec.Kind != persist.ResultKept && rec.Kind != persist.ResultTooLarge) {
			continue
		}
		form, hi, lo, record, ok := persist.SplitResultKey(key, fixedResult)
		if !ok || form >= hash.Forms {
			continue // no key of ours asks for it
		}
		v, err := e.set.LookStored(context.Background(), &b, hash.Form(form), e.storedHash(hash.Form(form), hi, record), lo, record)
		if err != nil {
			return nil, err
		}
		if v == dedup.Fresh {
			orphans = append(orphans, persist.ResultRecord{Key: key, Kind: persist.ResultNone})
		}
	}
	return orphans, nil
}

func (e *Engine) storedHash(form hash.Form, hi uint64, record []byte) uint64 {
	if form.Fixed() {
		return hi
	}
	return e.hasher.Record(record)
}

// removeOrphanedResults removes directories that nobody promises: they were just being made, or removed.
func (e *Engine) removeOrphanedResults(promises resultPromises, oldest uint64) error {
	ids, err := persist.ListResults(e.dir)
	if err != nil {
		return err
	}
	for _, id := range ids {
		e.store.manifest.NextID = max(e.store.manifest.NextID, id)
		if p := promises[id]; p == nil || p.Generation < oldest {
			if err := persist.RemoveResultsDir(e.dir, id); err != nil {
				return err
			}
		}
	}
	return nil
}
