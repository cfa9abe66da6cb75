package kafka

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/adapters/consume"
)

// A partition handles its records in a goroutine of its own, a batch after the other.
type partition struct {
	place
	a        *Adapter
	cl       *kgo.Client
	h        consume.Handler
	ctx      context.Context // of the handlers
	cancel   context.CancelCauseFunc
	stopping chan struct{} // closed by stop
	done     chan struct{} // closed when run has returned
	more     chan struct{} // capacity 1: there may be records

	mu struct {
		sync.Mutex
		waiting []*kgo.Record // polled, not in a batch yet, in their order
		paused  bool          // the client doesn't fetch
		lost    bool          // nothing is marked for a commit any more
	}
}

func newPartition(a *Adapter, cl *kgo.Client, at place, h consume.Handler) *partition {
	p := &partition{place: at, a: a, cl: cl, h: h,
		stopping: make(chan struct{}), done: make(chan struct{}), more: make(chan struct{}, 1)}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p
}

// stop has run return after its batch. It is called once.
func (p *partition) stop(cause error) {
	if cause == ErrLost { //nolint:errorlint // the very value
		p.mu.Lock()
		p.mu.lost = true
		p.mu.Unlock()
	}
	close(p.stopping)
}

// add takes records that were polled. With more than a few batches waiting, fetching
// pauses: a partition that stands still must not fill the memory.
func (p *partition) add(rs []*kgo.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.waiting = append(p.mu.waiting, rs...)
	if !p.mu.paused && len(p.mu.waiting) > 4*p.a.o.Batch {
		p.mu.paused = true
		p.cl.PauseFetchPartitions(p.asMap())
	}
	select {
	case p.more <- struct{}{}:
	default:
	}
}

// run handles batches until stop.
func (p *partition) run() {
	defer close(p.done)
	defer p.cancel(nil)
	done := p.openGuard()
	if done == nil {
		return
	}
	defer done() // before the next owner gets the partition
	for {
		select {
		case <-p.stopping:
			return
		default:
		}
		batch := p.take()
		if len(batch) > 0 {
			p.process(batch)
			continue
		}
		select {
		case <-p.stopping:
			return
		case <-p.more:
		}
	}
}

// take returns the next batch, and lets the client fetch when little is left.
func (p *partition) take() []*kgo.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(p.mu.waiting), p.a.o.Batch)
	batch := p.mu.waiting[:n:n]
	if p.mu.waiting = p.mu.waiting[n:]; len(p.mu.waiting) == 0 {
		p.mu.waiting = nil
	}
	if p.mu.paused && len(p.mu.waiting) <= p.a.o.Batch {
		p.mu.paused = false
		p.cl.ResumeFetchPartitions(p.asMap())
	}
	return batch
}

// process handles a batch until every record of it is acknowledged, or the
// partition stops. What is handled again starts at the first record that was not
// acknowledged, and the offset to commit stays there.
func (p *partition) process(batch []*kgo.Record) {
	open := batch
	for attempt := 0; ; attempt++ {
		rest, delay := p.attempt(open, attempt)
		if len(rest) == 0 {
			p.acknowledge(batch[len(batch)-1], 1)
			return
		}
		p.acknowledge(rest[0], 0)
		timer := time.NewTimer(delay)
		select {
		case <-p.stopping:
			timer.Stop()
			return
		case <-timer.C:
		}
		open = rest
	}
}

// attempt has records handled once, and returns those that have to be handled again,
// and when.
func (p *partition) attempt(rs []*kgo.Record, attempt int) (rest []*kgo.Record, delay time.Duration) {
	msgs := make([]consume.Message, len(rs))
	for i, r := range rs {
		msgs[i] = p.a.message(r)
		p.a.placement.check(p.ctx, p.cl, r, msgs[i].Key, p.a.o.AnyPartition)
	}
	for i, d := range p.a.c.HandleBatch(p.ctx, msgs, p.h) {
		if d.Action == consume.Ack || d.Action == consume.Reject && p.a.refused(p.ctx, p.cl, rs[i], d) {
			continue
		}
		if len(rest) == 0 {
			delay = d.Delay
		}
		rest = append(rest, rs[i])
	}
	if delay == 0 {
		delay = p.a.o.RetryAfter << min(attempt, 5)
	}
	return rest, delay
}

// acknowledge lets the client commit up to r, and r as well if after is 1.
func (p *partition) acknowledge(r *kgo.Record, after int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.lost {
		return
	}
	p.cl.MarkCommitOffsets(map[string]map[int32]kgo.EpochOffset{
		p.topic: {p.place.partition: {Epoch: r.LeaderEpoch, Offset: r.Offset + after}},
	})
}
