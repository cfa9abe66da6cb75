package persist

import (
	"fmt"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist/journal"
)

// ResultPromises are what the manifest and the journal say of results, by ID.
type ResultPromises map[uint64]*ResultPromise

// A ResultPromise is what must be there of one generation's results.
type ResultPromise struct {
	ResultsMeta                 // of the manifest, with what the journal adds
	Base        ResultsMeta     // of the manifest alone
	seqs        map[uint64]bool // numbers above Seq that the journal promises
}

// PromisedResults returns what a manifest promises.
func PromisedResults(metas []ResultsMeta) ResultPromises {
	ps := ResultPromises{}
	for _, m := range metas {
		ps[m.ID] = newResultPromise(m)
	}
	return ps
}

func newResultPromise(m ResultsMeta) *ResultPromise {
	return &ResultPromise{ResultsMeta: m, Base: m, seqs: map[uint64]bool{}}
}

// Add takes over what a frame of the journal promises; ok is false if it is none of
// KindResults or not as it was written.
func (ps ResultPromises) Add(f *journal.Frame) (ok bool) {
	r, ok := f.Results()
	if !ok {
		return false
	}
	p := ps[r.ID]
	if p == nil {
		// A manifest names results before a frame does, until they are older than the window. Where
		// they are not, they are missing.
		p = newResultPromise(ResultsMeta{ID: r.ID, Generation: f.Generation})
		ps[r.ID] = p
	}
	// The manifest's count has those up to its Seq already.
	if r.Seq > p.Seq {
		p.seqs[r.Seq] = true
		p.Count += uint64(r.Count)
		p.Sum += r.Sum
	}
	return true
}

// A ResultScan compares what is there of results with what was promised. See takes the
// records; it is for one goroutine.
type ResultScan struct {
	All       ResultsMeta // of all that is there
	Unsettled [][]byte    // keys of calls that may not have marked them

	promise    *ResultPromise
	found      ResultsMeta     // of what was promised
	candidates map[string]bool // the keys of Unsettled, so that each is there once
}

// NewResultScan begins a scan.
func NewResultScan(p *ResultPromise) *ResultScan {
	return &ResultScan{promise: p, All: ResultsMeta{ID: p.ID, Generation: p.Generation, Seq: p.Seq},
		candidates: map[string]bool{}}
}

// See takes one record; it is a callback of Results.Scan and Results.Verify, and gives no error.
func (s *ResultScan) See(key []byte, seq uint64) error {
	sum := ResultSum(key, seq)
	if seq <= s.promise.Seq || s.promise.seqs[seq] {
		s.found.Count++
		s.found.Sum += sum
	}
	s.All.Count++
	s.All.Sum += sum
	s.All.Seq = max(s.All.Seq, seq)
	if seq > s.promise.Settled && !s.candidates[string(key)] {
		s.candidates[string(key)] = true
		s.Unsettled = append(s.Unsettled, []byte(string(key)))
	}
	return nil
}

// Missing returns a *dedup.CorruptError for the directory at path where records that were
// promised are not there, or nil.
func (s *ResultScan) Missing(path string) error {
	p := s.promise
	if s.found.Count == p.Count && s.found.Sum == p.Sum {
		return nil
	}
	return &dedup.CorruptError{File: path, Offset: -1, Detail: fmt.Sprintf(
		"%d results with sum %016x are there, %d with %016x were promised", s.found.Count, s.found.Sum, p.Count, p.Sum)}
}
