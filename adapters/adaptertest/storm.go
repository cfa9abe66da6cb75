package adaptertest

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// A Storm says how much weather there is. The zero value of every field but
// Messages has a default.
type Storm struct {
	Messages int     // different keys
	Twice    float64 // share of the keys that are sent a second time; 0.1
	Fail     float64 // share of the handlers that fail, before their effect; 0.05
	Kills    int     // consumers that are killed with -9, spread over the messages; 20
	Batch    int     // keys in one call of Produce; 500
	// Lease is that of the guard: it has to outlast a handler on this machine,
	// and keys of killed consumers wait for its end in a shared store. 5 s.
	Lease time.Duration
	// Seed makes the order of messages and kills; 0: another one each time. It
	// is logged.
	Seed uint64
}

func (s Storm) withDefaults() Storm {
	if s.Twice == 0 {
		s.Twice = 0.1
	}
	if s.Fail == 0 {
		s.Fail = 0.05
	}
	if s.Kills == 0 {
		s.Kills = 20
	}
	if s.Batch == 0 {
		s.Batch = 500
	}
	if s.Lease == 0 {
		s.Lease = 5 * time.Second
	}
	if s.Seed == 0 {
		s.Seed = rand.Uint64()
	}
	return s
}

// RunStorm sends s.Messages keys, some of them twice, to Config.Processes
// consumers in child processes whose handlers fail at random, and kills consumers
// with -9 while they work; each is followed by a new one. Every effect must have
// happened at least once, and more than once only where a handler had run when
// its process was killed; with Config.Effects exactly once.
func RunStorm(t *testing.T, c Config, s Storm) {
	t.Helper()
	runStorm(t, c, s)
}

func runStorm(t testing.TB, c Config, s Storm) {
	t.Helper()
	c, s = c.withDefaults(), s.withDefaults()
	t.Logf("storm with seed %d", s.Seed)
	b := &bed{TB: t, Config: c, dir: t.TempDir(), lease: s.Lease}
	b.address = c.NewTopic(t)
	defer b.end()
	b.storm(s)
}

// A squall is a storm under way.
type squall struct {
	*bed
	Storm
	random  *rand.Rand
	keys    []string
	all     []*child // all that ever ran
	running []*child
	kills   int
}

func (b *bed) storm(s Storm) {
	b.Helper()
	q := &squall{bed: b, Storm: s, random: rand.New(rand.NewPCG(s.Seed, 2)), keys: childKeys(s.Messages)}
	sent := stormOrder(q.random, q.keys, s.Twice)
	for range b.Processes {
		q.running = append(q.running, q.spawn())
	}
	produced := make(chan struct{})
	go func() { // ends with the last message
		defer close(produced)
		for from := 0; from < len(sent); from += s.Batch {
			b.Produce(b.TB, b.address, sent[from:min(from+s.Batch, len(sent))]...)
		}
	}()
	for q.kills < s.Kills {
		before := q.kills
		q.untilEffects((q.kills+1)*s.Messages/(s.Kills+1), func() bool { return q.kills > before })
		if q.kills == before {
			at := q.random.IntN(len(q.running))
			q.running[at].kill()
			q.replace(at)
		}
	}
	<-produced
	q.untilEffects(s.Messages, func() bool { return false })
	b.until("a drained topic", func() bool { q.bury(); return q.drained() })
	for _, c := range q.running {
		b.terminate(c)
	}
	b.wantJudged(q.keys, q.all...)
	q.report()
}

// spawn starts a consumer. Every second one has a step at which it kills itself
// before long: a kill at a random moment rarely meets the short ones.
func (q *squall) spawn() *child {
	o := order{Seed: q.Seed + uint64(len(q.all)), Fail: q.Fail}
	if len(q.all)%2 == 1 && q.kills < q.Kills {
		steps := []step{beforeClaim, afterClaim, inHandler, afterEffect, beforeCommit, afterCommit}
		o.Dies, o.After = steps[q.random.IntN(len(steps))], q.random.IntN(20)
	}
	c := q.bed.spawn(o)
	c.dies = o.Dies
	q.all = append(q.all, c)
	return c
}

func (q *squall) replace(at int) {
	q.kills++
	q.running[at] = q.spawn()
}

// bury replaces consumers that killed themselves.
func (q *squall) bury() {
	q.Helper()
	for at, c := range q.running {
		switch {
		case c.alive():
		case c.dies == "":
			q.Fatalf("a consumer ended by itself: %v", c.err)
		default:
			c.killed = true
			q.replace(at)
		}
	}
}

func (q *squall) drained() bool {
	q.Helper()
	if q.Drained == nil {
		<-time.After(q.Quiet)
		return true
	}
	drained, err := q.Drained(q.address)
	if err != nil {
		q.Fatalf("Drained: %v", err)
	}
	return drained
}

// stormOrder is all keys in a random order, with the second ones among them.
func stormOrder(random *rand.Rand, keys []string, twice float64) []string {
	sent := append([]string(nil), keys...)
	for _, key := range keys {
		if random.Float64() < twice {
			sent = append(sent, key)
		}
	}
	random.Shuffle(len(sent), func(i, j int) { sent[i], sent[j] = sent[j], sent[i] })
	return sent
}

// untilEffects waits until so many keys had their effect, or done says so. What
// it waits for is progress: it gives up when there was none for Config.Patience.
func (q *squall) untilEffects(want int, done func() bool) {
	q.Helper()
	var size, best int64 = -1, -1
	giveUp := time.Now().Add(q.Patience)
	for {
		if q.bury(); done() {
			return
		}
		pause := 10 * pollEvery
		if now := q.ledgerBytes(); now != size || q.Effects != nil {
			size = now
			from := time.Now()
			n := q.stormEffects(q.all)
			pause = max(pause, 5*time.Since(from)) // counting is not to keep the consumers from their work
			if n >= int64(want) {
				return
			}
			if n > best {
				best, giveUp = n, time.Now().Add(q.Patience)
			}
		}
		if time.Now().After(giveUp) {
			q.Fatalf("no progress for %v: %d of %d keys have had no effect", q.Patience, int64(len(q.keys))-best, len(q.keys))
		}
		<-time.After(pause)
	}
}

// ledgerBytes is the length of all ledgers: reading them is for when it changed.
func (q *squall) ledgerBytes() (size int64) {
	for _, c := range q.all {
		if info, err := os.Stat(c.ledger); err == nil {
			size += info.Size()
		}
	}
	return size
}

// stormEffects counts the keys that have had an effect.
func (b *bed) stormEffects(children []*child) int64 {
	if b.Effects != nil {
		return int64(len(b.Effects(b.TB, b.guardDir())))
	}
	var n int64
	for _, t := range b.tallies(children...) {
		if t.effects > 0 {
			n++
		}
	}
	return n
}

// wantExactly is for effects that share a transaction with their marks.
func (b *bed) wantExactly(keys []string) {
	b.Helper()
	effects := b.Effects(b.TB, b.guardDir())
	for _, key := range keys {
		if effects[key] != 1 {
			b.Errorf("the effect of %q happened %d times, want exactly once", key, effects[key])
			return
		}
	}
	b.Logf("%d keys, each with exactly one effect", len(keys))
}

func (q *squall) report() {
	if q.Effects != nil {
		return
	}
	effects, excused := 0, 0
	for _, t := range q.tallies(q.all...) {
		effects += t.effects
		excused += t.excused
	}
	q.Logf("%d keys, %d kills: %d effects; a kill came between %d effects and their commits", q.Messages, q.kills, effects, excused)
}
