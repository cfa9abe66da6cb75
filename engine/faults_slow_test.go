package engine

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/faultfs"
)

// slowLimit is how long a call may take to notice that its context ended before
// it counts as hanging. Nothing depends on it while the code is right.
const slowLimit = 10 * time.Second

// TestFaultsSlowDisk stops a disk for as long as it takes: memory stays within
// what it is given, calls wait, their contexts end the wait, and what they
// answered holds when the disk moves again.
func TestFaultsSlowDisk(t *testing.T) {
	runFaults(t, func(p *faultPart) {
		for i := 0; i < faultScale(2, 50) && !p.done(); i++ {
			slowDisk(p)
		}
	})
}

func slowDisk(p *faultPart) {
	s := newScripted(p, Exact)
	f := s.newFS()
	opts := s.opts
	opts.fs, opts.Sync, opts.tableKeys, opts.ringBytes = f, SyncNone, 200, 64<<10
	e, err := openWith(s.dir, opts)
	if err != nil {
		p.t.Fatal(err)
	}
	move := make(chan struct{})
	f.Delay(func(op faultfs.Op) {
		if op.Kind == "sync" {
			<-move
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	progress := make(chan int, 10_000)
	go func() {
		for n := uint64(0); ; n += 20 {
			keys := faultKeys(n, 20)
			if _, err := e.AdmitBatch(ctx, nil, keys); err != nil {
				done <- err
				return
			}
			s.ack(keys)
			progress <- 20
		}
	}()
	// It has come to a stop when nothing was answered for a while.
	for stopped := false; !stopped; {
		select {
		case n := <-progress:
			p.count("keys answered while the disk stood", n)
		case <-time.After(300 * time.Millisecond):
			stopped = true
		}
	}
	if got, most := e.Stats().MemoryBytes, int64(4<<20); got > most {
		p.errorf("%d bytes of memory while the disk stands, at most %d are expected", got, most)
	}
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			p.errorf("a call whose context ended gave %v", err)
		}
	case <-time.After(slowLimit / time.Duration(faultScale(5, 1))):
		p.errorf("a call waits on although its context has ended")
	}
	f.Delay(nil)
	close(move)
	if v, err := e.Admit(context.Background(), faultKey(1<<40)); v != dedup.Fresh || err != nil {
		p.errorf("when the disk moves again: %v, %v", v, err)
	}
	s.mu.Lock()
	acked := s.acked
	s.mu.Unlock()
	p.checkKeys(e, "when the disk moves again", acked, faultKeys(1<<41, 20))
	faultClose(p.t, e)
	p.count("stops", 1)
}

// TestFaultsSlowOperations delays every operation of the script a little.
func TestFaultsSlowOperations(t *testing.T) {
	runFaults(t, func(p *faultPart) {
		for _, mode := range []Mode{Exact, Approximate} {
			s := newScripted(p, mode)
			f := s.newFS()
			f.Delay(func(faultfs.Op) { time.Sleep(time.Duration(faultScale(2, 30)) * time.Millisecond) })
			if err := s.run(f); err != nil {
				p.errorf("the script on a slow disk: %v", err)
			}
			f.Delay(nil)
			s.check(f, "after the script on a slow disk", s.acked)
			p.count("operations delayed", int(f.Ops()))
		}
	})
}
