package soak

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
)

// child is the process that has the engine. It says on its output, a line each
// that ends with " .":
//
//	t FROM N AT   it is going to mark N keys from number FROM on
//	a FROM N AT   they were marked, by a call that began at the wall time AT
//	s ...         its state and what it did since the last such line
//	missed, wrong, error TEXT
type child struct {
	out struct {
		sync.Mutex
		w io.Writer
	}
	e       *engine.Engine
	window  time.Duration
	old     []keyRange
	next    atomic.Uint64
	checked atomic.Uint64
	pace    time.Duration // of a batch
}

const (
	batchKeys = 500
	writers   = 3
	// slack allows for the time between reading the wall and the engine's clock.
	slack = 2 * time.Second
)

// Child is the child's side of a run: arg is what Run gave to Config.Command. It
// ends when ctx does, having closed the engine.
func Child(ctx context.Context, arg string, in io.Reader, out io.Writer) error {
	c := &child{}
	c.out.w = out
	var from, seed uint64
	var rate, sync int
	var dir string
	if _, err := fmt.Sscan(arg, &from, (*int64)(&c.window), &rate, &sync, &seed, &dir); err != nil {
		return fmt.Errorf("soak: %q: %w", arg, err)
	}
	c.next.Store(from)
	c.pace = time.Second * batchKeys * writers / time.Duration(max(rate, 1))
	for s := bufio.NewScanner(in); s.Scan(); {
		var k keyRange
		if n, _ := fmt.Sscan(s.Text(), &k.from, &k.n, &k.at); n == 3 {
			c.old = append(c.old, k)
		}
	}
	var err error
	c.e, err = engine.Open(dir, engine.Options{Window: c.window, Capacity: uint64(float64(rate) * c.window.Seconds()),
		Sync: engine.Sync(sync), MemoryBudget: 256 << 20})
	if err != nil {
		c.printf("error open: %v", err)
		return nil
	}
	c.run(ctx, seed)
	if err := c.e.Close(); err != nil {
		c.printf("error close: %v", err)
	}
	return nil
}

func (c *child) printf(format string, args ...any) {
	c.out.Lock()
	defer c.out.Unlock()
	fmt.Fprintf(c.out.w, format+" .\n", args...)
}

func (c *child) run(ctx context.Context, seed uint64) {
	var wg sync.WaitGroup
	for g := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(seed, uint64(g)))
			tick := time.NewTicker(max(c.pace, time.Microsecond))
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				if !c.mark() || !c.ask(rng) {
					return
				}
			}
		}()
	}
	stop := make(chan struct{})
	var told sync.WaitGroup
	told.Add(1)
	go func() {
		defer told.Done()
		c.tell(stop)
	}()
	wg.Wait()
	close(stop)
	told.Wait()
}

// mark marks a batch of new keys, and one in eight of them by a claim.
func (c *child) mark() bool {
	ctx := context.Background()
	from := c.next.Add(batchKeys) - batchKeys
	keys := make([][]byte, batchKeys)
	for i := range keys {
		keys[i] = key(from + uint64(i))
	}
	at := time.Now().UnixNano()
	c.printf("t %d %d %d", from, batchKeys, at)
	claimed := keys[:batchKeys/8]
	claims, err := c.e.ClaimBatch(ctx, nil, claimed)
	if err == nil {
		err = c.e.Commit(ctx, claims...)
	}
	var vs []dedup.Verdict
	for _, claim := range claims {
		vs = append(vs, claim.Verdict)
	}
	if err == nil {
		vs, err = c.e.AdmitBatch(ctx, vs, keys[len(claimed):])
	}
	if err != nil {
		c.printf("error marking: %v", err)
		return false
	}
	c.printf("a %d %d %d", from, batchKeys, at)
	for i, v := range vs {
		if v != dedup.Fresh {
			c.printf("wrong key %d, never tried before, is %v", from+uint64(i), v)
			return false
		}
	}
	return true
}

// ask asks for keys that were acknowledged in an earlier life.
func (c *child) ask(rng *rand.Rand) bool {
	for range 50 {
		if len(c.old) == 0 {
			return true
		}
		k := c.old[rng.IntN(len(c.old))]
		n := k.from + rng.Uint64N(k.n)
		found, err := c.e.Contains(context.Background(), key(n))
		if err != nil {
			c.printf("error asking: %v", err)
			return false
		}
		age := time.Duration(time.Now().UnixNano() - k.at)
		if !found && age < c.window-slack {
			c.printf("missed key %d, acknowledged %v ago", n, age)
			return false
		}
		c.checked.Add(1)
	}
	return true
}

func (c *child) tell(stop chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var last engine.Stats
	replayed := c.e.Stats().Recovery.Replayed
	for more := true; more; {
		select {
		case <-stop:
			more = false
		case <-tick.C:
		}
		s := c.e.Stats()
		c.printf("s %d %d %d %d %d", resident(), s.Flush.Rotations-last.Flush.Rotations, s.Flush.Flushes-last.Flush.Flushes,
			replayed, c.checked.Swap(0))
		last, replayed = s, 0
		if s.Scrub.Errors > 0 {
			c.printf("error scrubbing: %s", s.Scrub.LastErr)
		}
	}
}

// resident is the memory of the process, 0 where it can't be had.
func resident() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, pages int64
	if _, err := fmt.Fscan(strings.NewReader(string(b)), &size, &pages); err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// key is the n-th key: mostly 16 bytes, some of other forms.
func key(n uint64) []byte {
	switch n % 16 {
	case 1:
		return fmt.Appendf(nil, "%08x-0000-4000-8000-%012x", uint32(n), n&(1<<48-1))
	case 2:
		return fmt.Appendf(nil, "order-%d", n)
	case 3:
		return fmt.Appendf(nil, "%0300d", n)
	}
	k := make([]byte, 16)
	binary.LittleEndian.PutUint64(k, n)
	binary.BigEndian.PutUint64(k[8:], n*0x9e3779b97f4a7c15)
	return k
}
