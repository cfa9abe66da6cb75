package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// mostKeys bounds the keys of one script, for which the server does nothing
	// else: about a millisecond.
	mostKeys = 1000
	// mostBytes of results end a script as well.
	mostBytes = 4 << 20
	// attempts at a call without an answer or on a node that can't serve it now; the
	// waits between them make 0.15 s.
	attempts  = 5
	firstWait = 10 * time.Millisecond
)

// A call is one script with the records of one bucket or, outside clusters, of any.
type call struct {
	script *script
	bucket int
	at     []int  // the position of each record in the caller's batch
	names  []byte // of the records, one after the other
	ends   []int  // of each in names
	argv   []any  // after the two that every script takes
	record []byte // of the claims that it makes
	bytes  int    // of results

	// Of the attempt that was made last.
	whole   bool // the server doesn't know the script: send its text
	unsure  bool // an earlier attempt may have been carried out
	cmd     *redis.Cmd
	epoch   uint64
	acked   int64
	sent    time.Time
	counter int64
	answer  []any // after the counter
	err     error
}

// onceCmd keeps the client from sending a command twice on its own: the Store has to
// know, since the second time a commit finds its claim ended.
type onceCmd struct{ *redis.Cmd }

// NoRetry implements redis.Cmder.
func (onceCmd) NoRetry() bool { return true }

// A plan sorts the records of a batch into calls.
type plan struct {
	s      *Store
	script *script
	calls  []*call
	open   []*call // the last one of each bucket
	size   int     // records expected
	argv   []any   // that every call begins with
}

func (s *Store) plan(sc *script, size int, argv ...any) *plan {
	return &plan{s: s, script: sc, open: make([]*call, len(s.lay.counters)), size: size, argv: argv}
}

// add puts the record of key, which stands at position at of the batch, into a call
// with its arguments.
func (p *plan) add(at int, key []byte, argv ...any) *call {
	lay := &p.s.lay
	bucket, counter := lay.bucket(key), 0
	if lay.apart {
		counter = bucket
	}
	c := p.open[counter]
	if c == nil || len(c.at) == mostKeys || c.bytes > mostBytes {
		n := min(p.size/len(p.open)+1, mostKeys)
		c = &call{script: p.script, bucket: counter, at: make([]int, 0, n), ends: make([]int, 0, n)}
		c.names = make([]byte, 0, n*(len(lay.begins[bucket])+len(key)+1))
		c.argv = append(make([]any, 0, len(argv)*n+len(p.argv)+1), p.argv...)
		p.open[counter], p.calls = c, append(p.calls, c)
	}
	c.names = lay.name(c.names, bucket, key)
	c.at, c.ends, c.argv = append(c.at, at), append(c.ends, len(c.names)), append(c.argv, argv...)
	return c
}

// command builds what is sent.
func (s *Store) command(ctx context.Context, c *call) *redis.Cmd {
	args := make([]any, 0, 6+len(c.ends)+len(c.argv))
	if c.whole {
		args = append(args, "eval", c.script.body)
	} else {
		args = append(args, "evalsha", c.script.sha)
	}
	args = append(args, len(c.ends)+1, s.lay.counters[c.bucket])
	// Pointers to parts of one string: nothing is allocated for each.
	all, names, from := string(c.names), make([]string, len(c.ends)), 0
	for i, end := range c.ends {
		names[i] = all[from:end]
		args = append(args, &names[i])
		from = end
	}
	args = append(args, s.counterLife, late.Milliseconds())
	args = append(args, c.argv...)
	cmd := redis.NewCmd(ctx, args...)
	cmd.SetFirstKeyPos(3)
	return cmd
}

// run sends calls, in one round trip for each node, and again where that can help.
// Every call then has its answer or its err. The errors are joined; a gap that the
// answers prove is noted in the watch.
func (s *Store) run(ctx context.Context, calls []*call) error {
	pending := calls
	for attempt := 0; len(pending) > 0; attempt++ {
		if attempt > 0 && !s.pause(ctx, attempt, pending) {
			break
		}
		if err := ctx.Err(); err != nil {
			fail(pending, err)
			break
		}
		s.watch.before(pending, s.opts.now())
		s.send(ctx, pending)
		if gap := s.watch.after(pending); gap != nil {
			s.tell(gap)
		}
		var again []*call
		for _, c := range pending {
			if attempt+1 < attempts && c.worthAgain() {
				again = append(again, c)
			}
		}
		pending = again
	}
	s.stats.calls.Add(uint64(len(calls)))
	s.checkIfDue()
	return s.errorsOf(calls)
}

func fail(calls []*call, err error) {
	for _, c := range calls {
		c.err = errors.Join(err, c.err)
	}
}

// pause waits before another attempt, unless all that is missing is a script's text.
// It reports false when ctx ended meanwhile.
func (s *Store) pause(ctx context.Context, attempt int, calls []*call) bool {
	wait := false
	for _, c := range calls {
		wait = wait || !redis.HasErrorPrefix(c.err, "NOSCRIPT")
	}
	if !wait {
		return true
	}
	s.stats.retries.Add(uint64(len(calls)))
	if cc, ok := s.client.(*redis.ClusterClient); ok {
		cc.ReloadState(ctx) // a master may have moved
	}
	t := time.NewTimer(firstWait<<(attempt-1) + rand.N(firstWait))
	defer t.Stop()
	select {
	case <-ctx.Done():
		fail(calls, ctx.Err())
		return false
	case <-t.C:
		return true
	}
}

// send makes one attempt.
func (s *Store) send(ctx context.Context, calls []*call) {
	for _, c := range calls {
		c.cmd, c.err, c.answer = s.command(ctx, c), nil, nil
	}
	var err error
	if len(calls) == 1 && !s.lay.apart {
		err = s.client.Process(ctx, onceCmd{calls[0].cmd})
	} else {
		pipe := s.client.Pipeline()
		for _, c := range calls {
			_ = pipe.Process(ctx, onceCmd{c.cmd}) // queues
		}
		_, err = pipe.Exec(ctx)
	}
	for _, c := range calls {
		c.take(err)
	}
}

// take reads the answer, or the error of the call or of the pipeline it was in.
func (c *call) take(pipeline error) {
	reply, err := c.cmd.Slice()
	switch {
	case err != nil:
		c.err = err
	case len(reply) == 0 && pipeline != nil:
		c.err = pipeline
	case len(reply) == 0:
		c.err = errors.New("an empty answer")
	default:
		n, ok := reply[0].(int64)
		if !ok {
			c.err = fmt.Errorf("an answer that begins with %T", reply[0])
			return
		}
		c.counter, c.answer = n, reply[1:]
	}
}

// passing are the answers of a server that has not carried the script out and may
// do so soon.
var passing = []string{"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "MAXCLIENTS"}

// worthAgain says whether another attempt at c may succeed, and prepares it.
func (c *call) worthAgain() bool {
	switch {
	case c.err == nil || errors.Is(c.err, redis.ErrClosed):
		return false
	case redis.HasErrorPrefix(c.err, "NOSCRIPT"):
		c.whole = true
		return true
	}
	if _, answered := errors.AsType[redis.Error](c.err); answered {
		for _, prefix := range passing {
			if strings.HasPrefix(c.err.Error(), prefix) {
				return true
			}
		}
		return false
	}
	c.unsure = true
	return true
}

func (s *Store) errorsOf(calls []*call) error {
	var errs []error
	told := make(map[string]bool)
	for _, c := range calls {
		if c.err == nil {
			continue
		}
		s.stats.errors.Add(1)
		if text := c.err.Error(); !told[text] {
			told[text] = true
			errs = append(errs, fmt.Errorf("redisstore: %w", c.err))
		}
	}
	return errors.Join(errs...)
}
