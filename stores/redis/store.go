package redisstore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/firstseen/firstseen/dedup"
)

const (
	// late is how long after its lease a claim may still be ended, if nobody else has
	// taken the key. Records of claims live so much longer. It is part of the layout:
	// where a lease ends is told from a record's time to live.
	late = 10 * time.Minute
	// openLimit bounds what New does, checkLimit a check beside a call.
	openLimit  = 10 * time.Second
	checkLimit = 5 * time.Second
)

// A Store is a dedup.Guard on a Redis server or cluster. See the package's
// documentation.
type Store struct {
	client      redis.UniversalClient
	opts        Options
	lay         layout
	counterLife int64 // ms
	watch       watch
	nodes       nodes
	checked     atomic.Int64 // when the nodes were checked, in ns since 1970
	stats       counts
}

var _ dedup.Guard = (*Store)(nil)

// New returns a Store that uses client and never closes it. It asks every node for
// its policy of eviction and writes or compares the layout of the records of
// Options.Prefix, for which it takes 10 s at most.
//
// Another layout gives dedup.ErrIncompatible; a redis.Ring, and a cluster where
// DedupListener is set, give dedup.ErrUnsupported.
func New(client redis.UniversalClient, o Options) (*Store, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	_, cluster := client.(*redis.ClusterClient)
	if _, ring := client.(*redis.Ring); ring {
		return nil, fmt.Errorf("redisstore: %w: a redis.Ring moves keys to other servers when one is gone", dedup.ErrUnsupported)
	}
	if cluster && o.DedupListener {
		return nil, fmt.Errorf("redisstore: %w: RocketMQDedupListener's layout in a cluster", dedup.ErrUnsupported)
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	s := &Store{client: client, opts: o, lay: newLayout(o, hex.EncodeToString(id[:]), cluster)}
	// What a counter's end could hide has ended before: no record lives longer than
	// keep, and the counter lives longer on the server than is expected of it here,
	// even if the two clocks differ by a hundredth.
	keep := max(o.Window, o.Lease+late)
	s.counterLife = (keep + keep/50 + time.Minute).Milliseconds()
	s.watch.init(len(s.lay.counters), keep+keep/100, o.OnGap == Refuse)

	ctx, cancel := context.WithTimeout(context.Background(), openLimit)
	defer cancel()
	if err := s.check(ctx, true); err != nil {
		return nil, err
	}
	if err := settle(ctx, client, o); err != nil {
		return nil, err
	}
	return s, nil
}

// Contains says whether key is marked; it marks nothing, and a claim is no mark.
// While claims are refused for a gap it gives that *GapError.
func (s *Store) Contains(ctx context.Context, key []byte) (bool, error) {
	if err := s.watch.refusal(); err != nil {
		return false, err
	}
	return s.look(ctx, key, "look")
}

// Forget takes the mark of key back, with its result, so that it is Fresh again. A
// claim on the key stays. Forgetting a key that is not marked is no error.
func (s *Store) Forget(ctx context.Context, key []byte) error {
	_, err := s.look(ctx, key, "forget")
	return err
}

func (s *Store) look(ctx context.Context, key []byte, what string) (bool, error) {
	if !valid(key) {
		return false, &dedup.KeyError{Len: len(key)}
	}
	p := s.plan(s.lay.look, 1)
	c := p.add(0, key, what)
	if err := s.run(ctx, p.calls); err != nil {
		return false, err
	}
	return c.flag(), nil
}

// Ping asks every node and every bucket for an answer, so that a gap is noticed
// where nothing was claimed since. It gives the *GapError for which claims are
// refused, and what makes a server unfit.
func (s *Store) Ping(ctx context.Context) error {
	calls := make([]*call, len(s.lay.counters))
	for b := range calls {
		calls[b] = &call{script: countScript, bucket: b}
	}
	return errors.Join(s.check(ctx, false), s.run(ctx, calls), s.watch.refusal())
}

// AcceptGap lets claims go on after a gap: what was lost may be handled twice, and
// whoever calls it has dealt with that. Without a gap it does nothing.
func (s *Store) AcceptGap() { s.watch.accept() }

// tell passes a gap on to the operator.
func (s *Store) tell(gap *GapError) {
	s.stats.gaps.Add(1)
	s.opts.Logger.Warn("redisstore: records were lost", "detail", gap.Detail, "claims refused", s.opts.OnGap == Refuse)
}

func valid(key []byte) bool { return len(key) > 0 && len(key) <= dedup.MaxKeyLen }
