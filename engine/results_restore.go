package engine

import (
	"context"
	"errors"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/shards"
)

// restoreResults opens the results of the window, after the replay, which has read what the
// journal promises of them. Results that are missing do not keep a directory from opening: the
// keys are marked all the same, and their claims get ErrResultLost.
func (rc *recovery) restoreResults(promises persist.ResultPromises) error {
	oldest := rc.e.window.generations[0].number
	var dirs []*resultDir
	changed := false
	for id, p := range promises {
		rc.e.store.manifest.NextID = max(rc.e.store.manifest.NextID, id)
		if p.Generation < oldest {
			continue
		}
		d, news, err := rc.restoreResultDir(p)
		if err != nil { // d is in no list yet, so abandon would not close it
			return errors.Join(err, d.close())
		}
		dirs = append(dirs, d)
		rc.e.results.setList(dirs)
		changed = changed || news
	}
	if err := rc.removeOrphanedResults(promises, oldest); err != nil {
		return err
	}
	if !changed {
		return nil
	}
	// Losses are noted at once: a later opening could not tell them from what was never promised,
	// once the frames that promised it are released.
	if err := rc.e.results.sync(); err != nil {
		return err
	}
	return rc.e.store.update(func(m *persist.Manifest) { m.Results = rc.e.results.metas(m.Generations[0].Number) })
}

func (d *resultDir) close() error {
	if d == nil || d.store == nil {
		return nil
	}
	return d.store.Close()
}

// restoreResultDir opens the results of one generation. It reads all records, since Badger
// drops damaged ones without an error, and compares them with count and sum of what was
// promised (I5). news says that the manifest must be written.
func (rc *recovery) restoreResultDir(p *persist.ResultPromise) (d *resultDir, news bool, err error) {
	d = newResultDir(p.ID, p.Generation)
	d.put, d.synced = p.Base, p.Base
	d.lost.Store(p.Lost)
	c := persist.ResultsConfig{Dir: rc.e.dir, ID: p.ID, Logger: rc.e.opts.Logger}
	if d.store, err = persist.OpenResults(c); err != nil {
		d.store = nil
		if !errors.Is(err, dedup.ErrCorrupt) {
			return d, false, err
		}
		// It stays in the list, so that claims are told of the loss. Later results of its
		// generation get a directory of their own (liveDirLocked).
		rc.lostResults(d, err)
		return d, !p.Lost, nil
	}
	scan := persist.NewResultScan(p)
	if err = d.store.Scan(scan.See); err == nil {
		err = scan.Missing(d.store.Path())
	}
	if err != nil && !errors.Is(err, dedup.ErrCorrupt) {
		return d, false, err
	}
	if err != nil && !p.Lost {
		rc.lostResults(d, err)
		news = true
	}
	d.put = scan.All // more than d.synced: what no manifest names is not known to be durable
	orphans, err := rc.orphanedResults(d, scan.Unsettled)
	if err == nil && len(orphans) > 0 {
		// Without lead: nobody else is at work. Like every record these are durable when the
		// manifest promises them, and until then the next opening finds the same orphans.
		p := &resultPut{records: orphans}
		if err = rc.e.results.putLocked(d, []*resultPut{p}); err == nil {
			d.settle(p.seq)
		}
		news = true
	}
	return d, news, err
}

func (rc *recovery) lostResults(d *resultDir, err error) {
	rc.e.results.tellLost(d, err)
	rc.stats.LostResults = append(rc.stats.LostResults, d.generation)
}

// orphanedResults makes records that take back the results of commits that a crash interrupted:
// results that are there, of keys that are not marked. Left alone, such a result would answer a
// later mark of its key.
func (rc *recovery) orphanedResults(d *resultDir, keys [][]byte) (orphans []persist.ResultRecord, err error) {
	var b shards.Batch
	for _, key := range keys {
		rec, _, ok, err := d.store.Get(key, nil)
		if err != nil && !errors.Is(err, dedup.ErrCorrupt) {
			return nil, err
		}
		// A damaged record is taken back as well: it must not answer a later mark.
		if err == nil && (!ok || rec.Kind != persist.ResultKept && rec.Kind != persist.ResultTooLarge) {
			continue
		}
		form, hi, lo, record, ok := persist.SplitResultKey(key, fixedResult)
		if !ok || form >= hash.Forms {
			continue // no key of ours asks for it
		}
		v, err := rc.e.set.LookStored(context.Background(), &b, hash.Form(form), rc.storedHash(hash.Form(form), hi, record), lo, record)
		if err != nil {
			return nil, err
		}
		if v == dedup.Fresh {
			orphans = append(orphans, persist.ResultRecord{Key: key, Kind: persist.ResultNone})
		}
	}
	return orphans, nil
}

// storedHash is the first hash word of a key as it is stored: that of a record is computed.
func (rc *recovery) storedHash(form hash.Form, hi uint64, record []byte) uint64 {
	if form.Fixed() {
		return hi
	}
	return rc.e.hasher.Record(record)
}

// removeOrphanedResults removes directories that neither manifest nor journal names: they were
// just being made, or removed.
func (rc *recovery) removeOrphanedResults(promises persist.ResultPromises, oldest uint64) error {
	ids, err := persist.ListResults(rc.e.dir)
	if err != nil {
		return err
	}
	for _, id := range ids {
		rc.e.store.manifest.NextID = max(rc.e.store.manifest.NextID, id)
		if p := promises[id]; p == nil || p.Generation < oldest {
			if err := persist.RemoveResultsDir(rc.e.dir, id); err != nil {
				return err
			}
		}
	}
	return nil
}
