package sqltest

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/servertest"
	"github.com/firstseen/firstseen/stores/internal/sqlstore"
)

// stressJob is what a process of the stress test does: it handles deliveries of
// keys, Clients at a time, until each of them is acknowledged.
type stressJob struct {
	Kind       string
	Addr       string
	Table      string
	Log        string
	Lease      time.Duration
	Clients    int
	Deliveries int
	Keys       uint32
	First      uint32 // keys First to First+Own-1 are delivered for certain
	Own        uint32
	Seed       uint64
}

const stressProcesses = 4

// Stress has 64 clients in 4 processes claim and commit keys, 30 % of which come
// again, while connections are cut at random and disaster strikes in the middle.
// Then it checks what they saw: see history.check.
func (g Target) Stress(t *testing.T, server *servertest.Server, keys int, lease time.Duration, disaster func(lead func(addr string))) {
	s, _ := g.store(t, g.open(t, g.Addr(server)), sqlstore.Options{Table: "stress"})
	must(t, s.Migrate(ctx))
	dir := t.TempDir()
	var proxies []*servertest.Proxy
	var children []*child
	var logs []string
	share := keys / stressProcesses
	for i := range stressProcesses {
		proxies = append(proxies, servertest.NewProxy(t, g.Addr(server)))
		logs = append(logs, filepath.Join(dir, string(rune('a'+i))))
		children = append(children, startChild(t, stressJob{
			Kind: "stress", Addr: proxies[i].Addr(), Table: "stress", Log: logs[i], Lease: lease, Clients: 16,
			Deliveries: share * 13 / 10, Keys: uint32(share * stressProcesses), First: uint32(i * share), Own: uint32(share), Seed: rand.Uint64(),
		}))
	}
	half, done := make(chan bool, stressProcesses), make(chan struct{})
	var ends, cutter sync.WaitGroup
	for i, c := range children {
		ends.Go(func() {
			for c.lines.Scan() {
				half <- true
			}
			if err := c.cmd.Wait(); err != nil {
				t.Errorf("process %d: %v", i, err)
			}
		})
	}
	cutter.Go(func() { cutAll(proxies, done) })
	go func() {
		ends.Wait()
		close(done)
	}()
	select {
	case <-half:
		disaster(func(addr string) {
			for _, p := range proxies {
				p.Lead(addr)
			}
		})
	case <-done:
	}
	<-done
	cutter.Wait()
	h := history{keys: make([]keyHistory, share*stressProcesses)}
	for _, log := range logs {
		must(t, h.read(log))
	}
	h.check(t)
}

// cutAll cuts connections at random until done.
func cutAll(proxies []*servertest.Proxy, done chan struct{}) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			proxies[rand.IntN(len(proxies))].Cut(rand.Float64() * 0.2)
		}
	}
}

// stressChild is one process.
func (g Target) stressChild(text []byte) error {
	var job stressJob
	if err := json.Unmarshal(text, &job); err != nil {
		return err
	}
	db, err := g.Open(job.Addr)
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(job.Clients)
	db.SetMaxIdleConns(job.Clients)
	s, _, err := g.New(db, sqlstore.Options{Window: time.Hour, Lease: job.Lease, Table: job.Table, SweepEvery: time.Second, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer s.Close()
	log, err := newEventLog(job.Log)
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(job.Seed, 1))
	queues := make([][]uint32, job.Clients)
	for i := range job.Deliveries {
		key := job.First + uint32(i)
		if uint32(i) >= job.Own {
			key = rng.Uint32N(job.Keys) // a key of any process, again
		}
		c := rng.IntN(job.Clients)
		queues[c] = append(queues[c], key)
	}
	var clients sync.WaitGroup
	var acked atomic.Int64
	for i, queue := range queues {
		rng.Shuffle(len(queue), func(a, b int) { queue[a], queue[b] = queue[b], queue[a] })
		c := stressClient{store: s, log: log, queue: queue, rng: rand.New(rand.NewPCG(job.Seed, uint64(i)+2))}
		clients.Go(func() {
			c.run(func(n int) {
				if before := acked.Add(int64(n)) - int64(n); before < int64(job.Deliveries/2) && before+int64(n) >= int64(job.Deliveries/2) {
					say(os.Stdout, "half")
				}
			})
		})
	}
	clients.Wait()
	if n := acked.Load(); n != int64(job.Deliveries) {
		err = fmt.Errorf("%d of %d deliveries were acknowledged", n, job.Deliveries)
	}
	return errors.Join(err, log.close())
}

// A stressClient is a consumer with a queue of its own.
type stressClient struct {
	store Store
	log   *eventLog
	queue []uint32
	rng   *rand.Rand
}

func (c *stressClient) run(ack func(n int)) {
	for len(c.queue) > 0 {
		n := min(len(c.queue), 1+c.rng.IntN(200))
		batch := append([]uint32(nil), c.queue[:n]...)
		c.queue = c.queue[n:]
		before := len(c.queue)
		c.handle(batch)
		again := len(c.queue) - before
		ack(n - again)
		if again > n/2 {
			<-time.After(10 * time.Millisecond) // the rest is held by others, or the server is away
		}
	}
}

// handle claims a batch and puts back what has to be delivered again.
func (c *stressClient) handle(batch []uint32) {
	keys := make([][]byte, len(batch))
	for i, key := range batch {
		keys[i] = stressKey(key)
	}
	asked := time.Now()
	cs, err := c.store.ClaimBatch(ctx, nil, keys)
	if err != nil {
		c.queue = append(c.queue, batch...)
		return
	}
	answered := time.Now()
	var commit, release []dedup.Claim
	var commits, releases []uint32
	for i, claim := range cs {
		switch claim.Verdict {
		case dedup.Duplicate:
			c.log.add(event{kind: sawMark, key: batch[i], from: asked, to: answered})
		case dedup.Fresh:
			c.log.add(event{kind: gotKey, key: batch[i], from: asked, to: answered, expires: claim.Expires})
			switch dice := c.rng.IntN(100); {
			case dice < 2: // the handler fails
				release, releases = append(release, claim), append(releases, batch[i])
				c.queue = append(c.queue, batch[i])
			case dice < 3: // the handler is gone
				c.queue = append(c.queue, batch[i])
			default:
				commit, commits = append(commit, claim), append(commits, batch[i])
			}
		default:
			c.queue = append(c.queue, batch[i])
		}
	}
	c.end(commit, commits)
	asked = time.Now()
	for _, key := range releases {
		c.log.add(event{kind: released, key: key, from: asked, to: asked})
	}
	_ = c.store.Release(ctx, release...) // unknown, or gone already: the key comes again
}

func (c *stressClient) end(claims []dedup.Claim, keys []uint32) {
	asked := time.Now()
	for _, key := range keys {
		c.log.add(event{kind: asksMark, key: key, from: asked, to: asked})
	}
	err := c.store.Commit(ctx, claims...)
	answered := time.Now()
	lost := dedup.IndexesOf(err, dedup.ErrLeaseLost)
	if err != nil && lost == nil {
		c.queue = append(c.queue, keys...)
		return
	}
	gone := map[int]bool{}
	for _, i := range lost {
		gone[i] = true
	}
	for i, key := range keys {
		if gone[i] {
			c.queue = append(c.queue, key)
			continue
		}
		c.log.add(event{kind: madeMark, key: key, from: asked, to: answered})
	}
}
