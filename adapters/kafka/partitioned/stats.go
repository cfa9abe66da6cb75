package partitioned

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/firstseen/firstseen/adapters/kafka/partitioned/stats"
)

// Stats are the numbers of a Node.
type Stats = stats.Node

// Stats returns the counters, and what is known of the partitions. It may be called
// at any time.
func (n *Node) Stats() Stats {
	s := Stats{
		Fresh: n.fresh.Load(), Duplicate: n.duplicate.Load(), NoKey: n.noKey.Load(), Misplaced: n.misplaced.Load(),
		Committed: n.committed.Load(), Aborted: n.aborted.Load(), Sessions: n.sessions.Load(),
		Loads: n.loads.Load(), LoadedKeys: n.loadedKeys.Load(), LoadedBytes: n.loadedBytes.Load(), Gaps: n.gaps.Load(),
	}
	n.mu.Lock()
	memories := make([]*memory, 0, len(n.mu.memories))
	for _, m := range n.mu.memories {
		if m.ctx.Err() == nil { // not given back
			memories = append(memories, m)
		}
	}
	n.mu.Unlock()
	for _, m := range memories {
		p := stats.Partition{ID: m.id, Replay: m.progress.stats()}
		if e := m.open.Load(); e != nil {
			p.Ready, p.Engine = true, e.Stats()
		}
		s.Partitions = append(s.Partitions, p)
	}
	slices.SortFunc(s.Partitions, func(a, b stats.Partition) int { return cmp.Compare(a.ID, b.ID) })
	return s
}

// A progress is how far the reading of a log has come. The goroutine that reads sets
// it, any other may read it.
type progress struct {
	keys, bytes atomic.Uint64
	from, at    atomic.Int64 // offsets
	end         atomic.Int64
	began, took atomic.Int64 // ns; took is 0 while the load goes on
}

func (p *progress) stats() stats.Replay {
	r := stats.Replay{Keys: p.keys.Load(), Bytes: p.bytes.Load(), Took: time.Duration(p.took.Load())}
	r.Passed = p.at.Load() - p.from.Load()
	if r.Took > 0 {
		return r
	}
	if began := p.began.Load(); began > 0 {
		r.Took = time.Since(time.Unix(0, began))
	}
	if r.Left = p.end.Load() - p.at.Load(); r.Passed > 0 {
		r.TimeLeft = time.Duration(float64(r.Took) / float64(r.Passed) * float64(r.Left))
	}
	return r
}

func (p *progress) begin(from, end int64) {
	p.keys.Store(0)
	p.bytes.Store(0)
	p.from.Store(from)
	p.at.Store(from)
	p.end.Store(end)
	p.began.Store(time.Now().UnixNano())
}
