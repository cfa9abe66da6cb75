package bench

import (
	"sync"
	"time"
)

// A sampler looks at a run from outside: progress, memory, flushes and
// rotations. Its goroutine is started by startSampler and ended by stop.
type sampler struct {
	every    time.Duration
	clock    *clock
	target   Target
	total    uint64
	progress func(done, total uint64)

	samples []Sample
	peak    int64
	quit    chan struct{}
	wait    sync.WaitGroup
}

func startSampler(c Config, k *clock, t Target) *sampler {
	s := &sampler{every: c.SampleEvery, clock: k, target: t, total: c.Keys, progress: c.Progress, quit: make(chan struct{})}
	s.wait.Go(s.loop)
	return s
}

func (s *sampler) loop() {
	ticker := time.NewTicker(s.every)
	defer ticker.Stop()
	usage := s.target.Usage()
	seen := s.clock.messages.Load()
	for {
		select {
		case <-s.quit:
			return
		case <-ticker.C:
		}
		u, n := s.target.Usage(), s.clock.messages.Load()
		s.samples = append(s.samples, Sample{
			Messages:  n - seen,
			Flushes:   u.Flushes - usage.Flushes,
			Rotations: u.Rotations - usage.Rotations,
		})
		usage, seen = u, n
		s.peak = max(s.peak, ownMemory().anonymous+u.Process)
		if s.progress != nil {
			s.progress(n, s.total)
		}
	}
}

// stop ends the goroutine; samples and peak may be read afterwards.
func (s *sampler) stop() {
	close(s.quit)
	s.wait.Wait()
}
