package engine

import (
	"cmp"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/persist"
)

// Results lie in Badger directories of their own, one for each generation in which some came.
// A claim's result lies in the directory of the generation in which its key was marked, and
// nowhere else: if a generation begins between result and mark, the result is written again.
// So there is one place to look, and a result of an earlier mark, which is older than the
// window, is never found (docs/decisions/013). A directory goes with its generation.
//
// Each record is numbered and promised twice: by a frame of the journal, which precedes the
// mark, and by the next manifest. Badger drops damaged records without an error. A directory
// that lacks what was promised counts as lost for good, and its answer is ErrResultLost.
type results struct {
	e *Engine
	// dirs are newest first. A list never changes: it is replaced with lead held, but for an
	// opening, and read without any lock. No list, or an empty one, says that no claim has to look
	// for a result.
	dirs atomic.Pointer[[]*resultDir]

	// lead is held by the caller that writes, for itself and for all others that have queued
	// (group commit): one sync serves all that came while the one before it was under way. It
	// is taken before a shard's lock, never after.
	lead sync.Mutex
	// queue is what the next leader writes. Its lock is not lead, or nobody could queue while one
	// is at the disk.
	queue struct {
		sync.Mutex
		puts []*resultPut
	}

	counts struct{ kept, tooLarge, answered, lost, syncs atomic.Uint64 }
}

// A resultDir is the results of one generation. There are several of a generation after one
// could not be opened.
type resultDir struct {
	id, generation uint64
	store          *persist.Results // nil: it can't be opened
	lost           atomic.Bool      // records are missing; never taken back, since nobody knows which

	mu sync.Mutex
	// put is what was written, by whoever holds lead; guarded by mu. Raised after the write, so a
	// sync that begins after it was read covers it.
	put persist.ResultsMeta
	// synced is what a manifest may promise: a put that a sync has covered since; guarded by mu.
	// Its Settled is what a manifest may call settled, see promiseSettled.
	synced persist.ResultsMeta
	// unsettled are the numbers of calls whose marks are not made yet; guarded by mu. A number
	// comes in together with put, so nobody finds one in put that is not among these and not
	// settled.
	unsettled map[uint64]bool
}

func newResultDir(id, generation uint64) *resultDir {
	d := &resultDir{id: id, generation: generation, unsettled: map[uint64]bool{}}
	d.put = persist.ResultsMeta{ID: id, Generation: generation}
	d.synced = d.put
	return d
}

// list returns the directories, newest first.
func (r *results) list() []*resultDir {
	if l := r.dirs.Load(); l != nil {
		return *l
	}
	return nil
}

func (r *results) setList(dirs []*resultDir) {
	slices.SortFunc(dirs, func(a, b *resultDir) int {
		return cmp.Or(cmp.Compare(b.generation, a.generation), cmp.Compare(b.id, a.id))
	})
	r.dirs.Store(&dirs)
}

// metas is what the manifest may promise, with oldest the first generation that it names.
func (r *results) metas(oldest uint64) (metas []persist.ResultsMeta) {
	for _, d := range r.list() {
		if d.generation < oldest {
			continue
		}
		d.mu.Lock()
		m := d.synced
		d.mu.Unlock()
		m.Lost = d.lost.Load()
		metas = append(metas, m)
	}
	return metas
}

// settle notes that a call has made its marks or has taken its records back. Once a manifest
// tells so, an opening does not ask any more whether its records are orphans.
func (d *resultDir) settle(seq uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.unsettled, seq)
}

// settled is the number up to which the calls of a directory had settled.
type settled struct {
	d   *resultDir
	seq uint64
}

// settled returns how far the calls have settled. Their marks may lie in the journal's buffer
// only, so this may be promised when the journal has been synced since:
//
//  1. A call marks its keys and is settled; its frame is not written yet.
//  2. A manifest tells that it is settled.
//  3. Kill: the marks are gone, and no opening takes the result back.
//  4. The key is handled again and marked without a result. The old one would be its answer.
func (r *results) settled() (all []settled) {
	for _, d := range r.list() {
		d.mu.Lock()
		s := settled{d, d.put.Seq}
		for seq := range d.unsettled {
			s.seq = min(s.seq, seq-1)
		}
		d.mu.Unlock()
		all = append(all, s)
	}
	return all
}

// promiseSettled has manifests tell from now on what settled returned. The caller has synced the
// journal since.
func (r *results) promiseSettled(all []settled) {
	for _, s := range all {
		s.d.mu.Lock()
		s.d.synced.Settled = max(s.d.synced.Settled, min(s.seq, s.d.synced.Seq))
		s.d.mu.Unlock()
	}
}

// tellLost notes that records are missing.
func (r *results) tellLost(d *resultDir, err error) {
	if !d.lost.Swap(true) {
		r.e.opts.Logger.Error("results are lost: claims of keys marked then get ErrResultLost", "generation", d.generation,
			"dir", persist.ResultsPath(r.e.dir, d.id), "error", err)
	}
}

// find looks for the result of a key that was marked in a generation; key is its Badger key.
// The error is ErrResultTooLarge or ErrResultLost. Of several directories of the generation the
// newest that has a record of the key counts, unless one that can't be read comes first.
func (r *results) find(generation uint64, key []byte) ([]byte, error) {
	for _, d := range r.list() {
		if d.generation != generation {
			continue
		}
		var rec persist.ResultRecord
		var ok bool
		err := error(nil)
		if d.store != nil {
			rec, _, ok, err = d.store.Get(key, nil)
		}
		switch {
		case errors.Is(err, persist.ErrRetired):
			continue // out of the window meanwhile
		case err != nil:
			r.e.opts.Logger.Error("a result can't be read", "generation", d.generation, "error", err)
			r.counts.lost.Add(1)
			return nil, dedup.ErrResultLost
		// Also where a record was found: one that is missing may have been newer.
		case d.lost.Load() || ok && rec.Kind == persist.ResultForgotten:
			r.counts.lost.Add(1)
			return nil, dedup.ErrResultLost
		case !ok:
			continue
		case rec.Kind == persist.ResultTooLarge:
			return nil, dedup.ErrResultTooLarge
		case rec.Kind == persist.ResultKept:
			r.counts.answered.Add(1)
			return rec.Data, nil
		}
		return nil, nil // ResultNone
	}
	return nil, nil
}

// resultKey appends the Badger key of a key as it is stored.
func resultKey(p []byte, form hash.Form, hi, lo uint64, record []byte) []byte {
	return persist.AppendResultKey(p, uint8(form), hi, lo, record)
}

func fixedResult(form uint8) bool { return hash.Form(form).Fixed() }

// sync makes all that was written durable. Whoever writes a manifest calls it first: the
// manifest releases the frames that have promised results, and takes over.
func (r *results) sync() error {
	for _, d := range r.list() {
		if err := r.syncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// syncDir is sync for one directory. What to promise is read before the sync, which need not
// cover what is written meanwhile.
func (r *results) syncDir(d *resultDir) error {
	d.mu.Lock()
	at, dirty := d.put, d.put.Seq != d.synced.Seq
	d.mu.Unlock()
	if d.store == nil {
		return nil
	}
	if dirty {
		r.counts.syncs.Add(1)
		if err := d.store.Sync(); errors.Is(err, persist.ErrRetired) {
			return nil
		} else if err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	// Another sync, of a later put, may have come first. Settled is none of this one's business:
	// it needs the journal's sync, not the results'.
	if at.Seq >= d.synced.Seq {
		at.Settled = d.synced.Settled
		d.synced = at
	}
	return nil
}

// removeOld removes the directories of generations that the manifest no longer names.
func (r *results) removeOld() {
	oldest, gone := uint64(0), []*resultDir(nil)
	r.e.store.view(func(m *persist.Manifest) { oldest = m.Generations[0].Number })
	// With lead, as every change of the list. The files go without it: calls need not wait for that.
	r.lead.Lock()
	var kept []*resultDir
	for _, d := range r.list() {
		if d.generation < oldest {
			gone = append(gone, d)
		} else {
			kept = append(kept, d)
		}
	}
	if len(gone) > 0 {
		r.setList(kept)
	}
	r.lead.Unlock()
	for _, d := range gone {
		var err error
		if d.store != nil {
			err = d.store.Remove()
		} else {
			err = persist.RemoveResultsDir(r.e.dir, d.id)
		}
		if err != nil {
			r.e.opts.Logger.Warn("removing results that are no longer needed", "error", err)
		}
	}
}

func (r *results) stats() ResultStats {
	c := &r.counts
	s := ResultStats{Kept: c.kept.Load(), TooLarge: c.tooLarge.Load(), Answered: c.answered.Load(), Lost: c.lost.Load(), Syncs: c.syncs.Load()}
	for _, d := range r.list() {
		d.mu.Lock()
		m := d.put
		d.mu.Unlock()
		m.Lost = d.lost.Load()
		s.Generations = append(s.Generations, generationResults(m))
	}
	return s
}

func generationResults(m persist.ResultsMeta) GenerationResults {
	return GenerationResults{Generation: m.Generation, Dir: filepath.Base(persist.ResultsPath("", m.ID)), Records: m.Count, Lost: m.Lost}
}

func (r *results) close() error {
	var errs []error
	for _, d := range r.list() {
		if d.store != nil {
			errs = append(errs, d.store.Close())
		}
	}
	return errors.Join(errs...)
}
