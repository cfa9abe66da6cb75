package sqlstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/sqlretry"
)

const (
	maxChunk = 10_000
	// sweepLease is how long a sweeper that has died keeps others from sweeping.
	sweepLease = 30 * time.Second
)

type sweeper struct {
	stop context.CancelFunc
	done sync.WaitGroup
}

// startSweeper starts the goroutine that sweeps; stopSweeper ends it.
func (s *Store) startSweeper() {
	if s.opts.SweepEvery < 0 {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	s.sweeper.stop = stop
	s.sweeper.done.Go(func() {
		for {
			// Half of the pause is random, so that processes that were started
			// together don't come together.
			if sqlretry.Pause(ctx, s.opts.SweepEvery/2+rand.N(s.opts.SweepEvery)) != nil {
				return
			}
			if _, err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
				s.opts.Logger.Warn("sweeping expired keys failed", "store", s.name, "table", s.opts.Table, "error", err)
			}
		}
	})
}

func (s *Store) stopSweeper() {
	if s.sweeper.stop != nil {
		s.sweeper.stop()
	}
	s.sweeper.done.Wait()
}

// Sweep deletes the rows whose time is over and returns how many it deleted. It
// does so in chunks, with a pause after each that is as long as the chunk took.
// While another process sweeps, it returns at once.
//
// Rows that are not swept yet cost space only: their keys are fresh.
func (s *Store) Sweep(ctx context.Context) (deleted int, err error) {
	defer func() {
		s.stats.swept.Add(uint64(deleted))
		if err != nil {
			s.stats.sweepErrors.Add(1)
		}
	}()
	turn := Item{Key: SweeperKey}
	r := Request{Nonce: newNonce(), Lease: sweepLease, Window: sweepLease}
	turn.Token = r.Nonce.token(0)
	if err := s.claim(ctx, s.db, r, []*Item{&turn}); err != nil || turn.Answer.Verdict != dedup.Fresh {
		return 0, s.fail("sweep", err)
	}
	deleted, err = s.sweepChunks(ctx, r, &turn)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	release := s.retry(end, func() error { return s.dialect.Release(end, s.db, Request{Nonce: newNonce()}, []*Item{&turn}) })
	return deleted, s.fail("sweep", errors.Join(err, release))
}

func (s *Store) sweepChunks(ctx context.Context, r Request, turn *Item) (deleted int, err error) {
	from := ""
	for extended := time.Now(); ; {
		start := time.Now()
		var found, n int
		var next string
		err := s.retry(ctx, func() (err error) {
			found, n, next, err = s.dialect.Sweep(ctx, s.db, from, s.opts.SweepChunk)
			return err
		})
		from = next
		deleted += n
		if err != nil || found < s.opts.SweepChunk {
			return deleted, err
		}
		if time.Since(extended) > sweepLease/4 {
			if _, err := s.extend(ctx, r, turn); err != nil {
				return deleted, err
			}
			extended = time.Now()
		}
		if err := sqlretry.Pause(ctx, time.Since(start)); err != nil {
			return deleted, err
		}
	}
}
