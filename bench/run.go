package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/firstseen/firstseen/dedup"
)

// reopenProbes is how many marked keys are asked for after opening again.
const reopenProbes = 20_000

// Run makes one measurement. When ctx ends, it stops at once and gives what was
// measured so far, Truncated; a failing call gives the same with Error set. The
// error of Run itself says that nothing could be measured: a bad Config, or a candidate that could not be opened
// (ErrNotAvailable, when the machine lacks something).
func Run(ctx context.Context, c Config) (Result, error) {
	c, err := c.withDefaults()
	if err != nil {
		return Result{}, err
	}
	dir, err := os.MkdirTemp(c.Dir, "dedupbench-")
	if err != nil {
		return Result{}, fmt.Errorf("bench: making a directory: %w", err)
	}
	defer os.RemoveAll(dir)

	r := Result{
		Candidate: c.Candidate, Workload: c.Workload.String(), Batch: c.Batch, Callers: c.Callers,
		Window: c.Window, Seed: c.Seed, SampleLength: c.SampleEvery,
	}
	debug.FreeOSMemory() // the last run's garbage is not this one's memory
	before := ownMemory()
	m := newMeasurement(c, dir)
	if err := m.open(ctx, &r.OpenNew); err != nil {
		return Result{}, err
	}
	if v, ok := m.target.(Versioned); ok {
		r.Server = v.Version()
	}
	m.send(ctx, &r)
	m.settle(&r, before)

	start := time.Now()
	if err := m.target.Close(); err != nil && r.Error == "" {
		r.Error = fmt.Sprintf("close: %v", err)
	}
	r.CloseTook = time.Since(start)
	m.disk(&r)
	if ctx.Err() == nil && r.Error == "" && c.Candidate.Embedded && c.Candidate.Class != Memory {
		if c.Reopen {
			r.OpenClosed = m.reopen(ctx)
		}
		// What an approximate target dropped in the other process isn't known here.
		if c.Kill != nil && c.Candidate.Class != Clean && !c.Candidate.Approximate {
			r.OpenKilled = m.killed(ctx)
		}
	}
	return r, nil
}

// Fill opens the candidate in c.Dir itself and sends the workload, as Run
// would, and returns the target still open. It is for a process that is going
// to be killed.
func Fill(ctx context.Context, c Config) (Target, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	m := newMeasurement(c, c.Dir)
	if err := m.open(ctx, new(time.Duration)); err != nil {
		return nil, err
	}
	r := Result{SampleLength: c.SampleEvery}
	m.send(ctx, &r)
	if r.Error != "" {
		return m.target, errors.New(r.Error)
	}
	return m.target, ctx.Err()
}

// A measurement is a run under way.
type measurement struct {
	c       Config
	dir     string
	clock   *clock
	target  Target
	streams []*stream
	peak    int64
}

func newMeasurement(c Config, dir string) *measurement {
	var ahead uint64
	if c.Window < c.Keys && c.Callers > 1 {
		ahead = margin(c.Window, c.Callers) / 2
	}
	m := &measurement{c: c, dir: dir, clock: newClock(c.Callers, ahead)}
	for id := range c.Callers {
		s := newStream(c.Workload, c.Seed, id, c.Callers, c.Window, m.share(id), m.clock)
		if c.Candidate.Approximate {
			s.unmarked = make(map[uint64]struct{})
		}
		m.streams = append(m.streams, s)
	}
	return m
}

// share is the number of messages that goroutine id sends.
func (m *measurement) share(id int) uint64 {
	n := uint64(m.c.Callers)
	share := m.c.Keys / n
	if uint64(id) < m.c.Keys%n {
		share++
	}
	return share
}

func (m *measurement) open(ctx context.Context, took *time.Duration) error {
	start := time.Now()
	t, err := m.c.Candidate.Open(ctx, Setup{
		Dir: m.dir, Keys: min(m.c.Window, m.c.Keys), KeyBytes: m.c.Workload.keyBytes(), Window: m.c.Workload.windowOf(m.c.Window), Now: m.clock.now,
		Callers: m.c.Callers, MaxBatch: m.c.Batch,
	})
	*took = time.Since(start)
	if err != nil {
		return fmt.Errorf("bench: opening %s: %w", m.c.Candidate.Name, err)
	}
	m.target = t
	return nil
}

// send runs the workers and fills in everything that is known when they end.
func (m *measurement) send(ctx context.Context, r *Result) {
	var stop atomic.Bool
	var wait sync.WaitGroup
	errs := make([]error, m.c.Callers)
	workers := make([]*worker, m.c.Callers)
	smp := startSampler(m.c, m.clock, m.target)
	start := time.Now()
	for id := range workers {
		w := &worker{
			id: id, target: m.target, stream: m.streams[id], clock: m.clock, quota: m.share(id),
			batch: m.c.Batch, stop: &stop, hist: newHistogram(),
		}
		if m.c.MaxTime > 0 {
			w.deadline = start.Add(m.c.MaxTime)
		}
		workers[id] = w
		wait.Go(func() { errs[id] = w.run(ctx) })
	}
	wait.Wait()
	r.Wall = time.Since(start)
	smp.stop()
	if err := errors.Join(errs...); err != nil {
		r.Error = err.Error()
	}
	m.peak = smp.peak
	r.Samples = smp.samples
	r.collect(workers)
	r.Truncated = r.Messages < m.c.Keys
	if m.c.Progress != nil {
		m.c.Progress(r.Messages, m.c.Keys)
	}
}

// collect adds the workers up.
func (r *Result) collect(workers []*worker) {
	var sum tally
	hist := hdrhistogram.New(1, int64(time.Minute), 3)
	for _, w := range workers {
		sum.add(w.tally)
		hist.Merge(w.hist)
	}
	r.Messages, r.Fresh, r.Duplicates = sum.messages, sum.fresh, sum.duplicates
	r.Missed, r.Wrong, r.Late, r.Unanswered = sum.missed, sum.wrong, sum.late, sum.unanswered
	r.Latency = latencyOf(hist)
	if sum.inside > 0 {
		r.KeysPerSecond = float64(sum.messages) / sum.inside.Seconds() * float64(len(workers))
	}
	if r.Wall > 0 {
		r.WallPerSecond = float64(sum.messages) / r.Wall.Seconds()
	}
	r.WorstSecond = r.WallPerSecond
	if worst := worstSecond(r.Samples, r.SampleLength); worst > 0 {
		r.WorstSecond = worst
	}
}

// settle measures memory and disk with the target still open.
func (m *measurement) settle(r *Result, before memory) {
	if s, ok := m.target.(Settler); ok {
		s.Settle()
	}
	r.Usage = m.target.Usage()
	peak := max(m.peak, ownMemory().anonymous+r.Usage.Process)
	debug.FreeOSMemory()
	end := ownMemory()
	r.MemoryPeak = max(0, peak-before.anonymous)
	r.MemoryEnd = max(0, end.anonymous+r.Usage.Process-before.anonymous)
	r.Mapped = max(0, end.mapped-before.mapped)
	if n := r.Remembered(); n > 0 {
		r.MemoryPerKey = float64(r.MemoryEnd) / float64(n)
	}
	m.disk(r)
}

// disk measures what lies on the disk, with the target open and after Close, and
// keeps the smaller: some write logs into tables when they close, others what
// makes the next opening quick. Keys that only the ring holds are left out of the
// division, as the ring is left out of the bytes.
func (m *measurement) disk(r *Result) {
	disk, ring := allocatedBytes(m.dir, m.c.Candidate.Journal)
	if r.Disk > 0 && disk > r.Disk {
		return
	}
	r.Disk, r.Ring = disk, ring
	if n := r.Remembered(); n > r.Usage.Unflushed {
		r.DiskPerKey = float64(disk) / float64(n-r.Usage.Unflushed)
	}
}

// reopen opens the closed directory again and asks for keys it must know.
func (m *measurement) reopen(ctx context.Context) *Opening {
	o := new(Opening)
	if err := m.open(ctx, &o.Took); err != nil {
		o.Problem = brief(err)
		return o
	}
	for _, s := range m.streams {
		keys := s.remembered(reopenProbes / len(m.streams))
		for len(keys) > 0 {
			n := min(len(keys), m.c.Batch)
			vs, err := m.target.Admit(ctx, nil, keys[:n])
			if err != nil {
				o.Problem = brief(err)
				break
			}
			o.Asked += n
			for _, v := range vs {
				if v != dedup.Duplicate {
					o.Missed++
				}
			}
			keys = keys[n:]
		}
	}
	if err := m.target.Close(); err != nil && o.Problem == "" {
		o.Problem = fmt.Sprintf("close: %v", err)
	}
	return o
}

// killed fills another directory in another process, which is killed, and
// opens that. The streams have the same seed, so their keys are known here.
func (m *measurement) killed(ctx context.Context) *Opening {
	dir, err := os.MkdirTemp(m.c.Dir, "dedupbench-")
	if err != nil {
		return &Opening{Problem: err.Error()}
	}
	defer os.RemoveAll(dir)
	c := m.c
	c.Dir, c.Keys, c.MaxTime, c.Progress = dir, m.clock.messages.Load(), 0, nil
	if err := m.c.Kill(ctx, c); err != nil {
		return &Opening{Problem: brief(err)}
	}
	other := newMeasurement(c, dir)
	other.replay()
	return other.reopen(ctx)
}

// replay takes the streams to where those of the killed process were, by
// making all of their messages again and sending none. Taking turns keeps the
// clock at each key's making as it was, give or take the streams' margin.
func (m *measurement) replay() {
	const turn = 1024
	left := make([]uint64, len(m.streams))
	for id := range left {
		left[id] = m.share(id)
	}
	for more := true; more; {
		more = false
		for id, s := range m.streams {
			n := min(turn, left[id])
			s.fill(int(n))
			m.clock.messages.Add(n)
			left[id] -= n
			more = more || left[id] > 0
		}
	}
}

// brief is an error in one line: a damaged directory can have a thousand.
func brief(err error) string {
	line, rest, more := strings.Cut(err.Error(), "\n")
	if more {
		line += fmt.Sprintf(" (and %d more lines)", strings.Count(rest, "\n")+1)
	}
	return line
}
