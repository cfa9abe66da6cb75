package redisstore

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// OnGap says what a Store does when records are known to be lost.
type OnGap uint8

const (
	// Refuse makes claims fail with a *GapError until AcceptGap.
	Refuse OnGap = iota
	// Report counts the gap in Stats, logs it, and goes on.
	Report
)

// Options configure a Store. The zero value of every field but Window is the safe
// default.
type Options struct {
	// Window is how long a mark is kept, from 1 ms. Required, but for
	// DedupListener: there it is 24 hours by default, as in Java.
	Window time.Duration
	// Lease is how long a claim is held before others may have the key, from 1 ms. It
	// should exceed the slowest handler; see also Store.Extend. Default 1 minute.
	Lease time.Duration
	// Prefix begins the names of all records. Stores with the same one share a
	// memory. It costs its length in memory for each key. Default "fs".
	Prefix string
	// Buckets is the number of parts that a cluster spreads the keys of, 1 to 4096.
	// It must be the same for all Stores of a Prefix and can't be changed later: a
	// key's bucket is part of its record's name. A batch costs at most one script for
	// each, so a large cluster wants some per node and small batches want few.
	// Default 64.
	Buckets int
	// MaxResult is the length in bytes of the longest result that is kept. Default
	// 64 KiB; negative: none.
	MaxResult int
	// OnGap is Refuse by default.
	OnGap OnGap
	// AllowEviction lets New accept a server whose maxmemory-policy is another than
	// noeviction or can't be read. What it evicts is reported as a gap.
	AllowEviction bool
	// CheckEvery is how often, at most, the nodes are asked for evictions and their
	// policy; a call that finds it due starts the check beside it. Default 10 s.
	CheckEvery time.Duration
	// DedupListener speaks RocketMQDedupListener's layout; see ListenerKey for its
	// keys and for what is different. Prefix and Buckets don't apply.
	DedupListener bool
	// Logger gets what an operator should know. Default: none.
	Logger *slog.Logger

	now func() time.Time // for tests: a wrong clock
}

const (
	defaultPrefix    = "fs"
	defaultBuckets   = 64
	maxBuckets       = 4096
	defaultMaxResult = 64 << 10
	// mostTime bounds lease and window, so that no sum of them overflows.
	mostTime = 100 * 365 * 24 * time.Hour
)

// complete returns o with its defaults, or all that is wrong with it.
func (o Options) complete() (Options, error) {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if o.Window == 0 && o.DedupListener {
		o.Window = 24 * time.Hour
	}
	if o.Lease == 0 {
		o.Lease = time.Minute
	}
	if o.CheckEvery == 0 {
		o.CheckEvery = 10 * time.Second
	}
	if o.Prefix == "" {
		o.Prefix = defaultPrefix
	}
	if o.Buckets == 0 {
		o.Buckets = defaultBuckets
	}
	if o.MaxResult == 0 {
		o.MaxResult = defaultMaxResult
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Window < time.Millisecond || o.Window > mostTime {
		bad("Window is %v, it must be from 1ms to 100 years", o.Window)
	}
	if o.Lease < time.Millisecond || o.Lease > mostTime {
		bad("Lease is %v, it must be from 1ms to 100 years", o.Lease)
	}
	if o.CheckEvery < 0 {
		bad("CheckEvery is %v, it must not be negative", o.CheckEvery)
	}
	if strings.ContainsAny(o.Prefix, "{}") {
		bad("Prefix is %q, it must not contain braces: a cluster hashes what is between them", o.Prefix)
	}
	if o.Buckets < 0 || o.Buckets > maxBuckets {
		bad("Buckets is %d, it must be from 1 to %d", o.Buckets, maxBuckets)
	}
	if o.OnGap > Report {
		bad("OnGap is %d, it must be Refuse or Report", o.OnGap)
	}
	if len(problems) > 0 {
		return o, fmt.Errorf("redisstore: bad options: %w", errors.Join(problems...))
	}
	return o, nil
}
