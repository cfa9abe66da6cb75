package persist

import (
	"bytes"
	"fmt"
	"runtime"
)

// yieldEvery is how many keys a merge writes, in some 100 µs, before it yields the processor:
// a caller that comes out of a system call would otherwise wait for the end of the scheduler's
// slice of 10 ms.
const yieldEvery = 2048

// MergeRuns writes the keys of runs, each once, as one run of the segment dst. The runs are of
// one shard and form; hash gives the order of a variable form's key, which runs do not store.
// spec.MaxKeys may be 0, for the sum of the runs' keys. It holds about 1 MiB per run in memory.
//
// Every checksum, count and sum of the runs is verified on the way (I5), so that damage is found
// and not copied into a run whose checksums are right. The run is then not finished.
func MergeRuns(dst *Segment, spec RunSpec, runs []*Run, hash func(key []byte) (order uint64)) (*Run, error) {
	if spec.MaxKeys == 0 {
		for _, r := range runs {
			spec.MaxKeys += r.meta.Keys
		}
	}
	sources := make([]*source, 0, len(runs))
	for _, r := range runs {
		if r.meta.Form != spec.Form || r.meta.Shard != spec.Shard {
			return nil, fmt.Errorf("persist: merging run %d of shard %d and form %d into one of %d and %d",
				r.meta.ID, r.meta.Shard, r.meta.Form, spec.Shard, spec.Form)
		}
		s := &source{Cursor: r.Cursor(), hash: hash, fixed: fixedForm(spec.Form)}
		ok, err := s.advance()
		if err != nil {
			return nil, err
		}
		if ok {
			sources = append(sources, s)
		}
	}
	w := dst.NewRun(spec)
	if err := mergeInto(w, sources); err != nil {
		return nil, err
	}
	return w.Finish()
}

func mergeInto(w *RunWriter, sources []*source) error {
	var last record // the key written last, a copy: its source's bytes change as it advances
	n := 0          // keys written
	for len(sources) > 0 && w.err == nil {
		// A heap would pay from about ten runs on; there are a handful.
		least := 0
		for i := 1; i < len(sources); i++ {
			if sources[i].now.compare(&sources[least].now) < 0 {
				least = i
			}
		}
		s := sources[least]
		if k := &s.now; n == 0 || k.compare(&last) != 0 {
			if n++; n%yieldEvery == 0 {
				runtime.Gosched()
			}
			last.order, last.lo = k.order, k.lo
			last.key = append(last.key[:0], k.key...)
			if s.fixed {
				w.Add(k.order, k.lo)
			} else {
				w.AddBytes(k.order, k.key)
			}
		}
		ok, err := s.advance()
		if err != nil {
			return err
		}
		if !ok {
			sources = append(sources[:least], sources[least+1:]...)
		}
	}
	return nil // Finish returns the writer's own error
}

// compare orders records as they lie in runs.
func (a *record) compare(b *record) int {
	switch {
	case a.order != b.order:
		return less(a.order < b.order)
	case a.lo != b.lo:
		return less(a.lo < b.lo)
	}
	return bytes.Compare(a.key, b.key)
}

func less(v bool) int {
	if v {
		return -1
	}
	return 1
}

// source is one run on its way into a merge.
type source struct {
	*Cursor
	hash  func(key []byte) (order uint64)
	fixed bool
	at    int    // of the next key in block
	now   record // the current key; its bytes are the block's
}

// advance goes to the next key. It is false at the end and on an error.
func (s *source) advance() (bool, error) {
	for s.next == 0 || s.at == s.block.Len() {
		ok, err := s.step()
		if !ok {
			return false, err
		}
		s.at = 0
	}
	if s.fixed {
		s.now.order, s.now.lo = s.block.Pair(s.at)
	} else {
		s.now.key = s.block.Key(s.at)
		s.now.order = s.hash(s.now.key)
	}
	s.at++
	return true, nil
}
