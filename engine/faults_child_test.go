package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/vfs"
)

// What may be killed, stopped by SIGBUS or cut off from its disk runs in a child:
// the test binary itself, as TestFaultChild. It tells on standard output what it
// begins and what was acknowledged, so that this is known outside of what
// crashes:
//
//	t FROM N TIME    N keys from number FROM on are going to be marked
//	a FROM N TIME END WALL   they were: marked at TIME and answered at END by the
//	                 engine's clock, at WALL by the wall
//	s BEGIN END      a sync of the journal, by the wall; END is 0 when it begins
//	b NAME           a phase begins: open, flush, merge, rotation, close
//	d NAME           it is done
//	p NAME           something was seen: a full disk
//	bad TEXT         the promise was broken
//	e TEXT           an error
const envChild = "FIRSTSEEN_FAULT_CHILD"

// childConfig is what a child is told, as its environment.
type childConfig struct {
	scenario string
	dir      string
	from     uint64 // first key number
	now      int64  // where its clock begins
	speed    int    // of its clock
	sync     Sync
	seed     uint64
	batches  int      // then it closes and ends; 0: never
	calm     bool     // it pauses between batches, and its tables never get full
	boot     [16]byte // the boot id that it sees; zero: the machine's
	killIn   string   // the phase in which it kills itself; "": none
}

func (c childConfig) env() string {
	return fmt.Sprintf("%s %d %d %d %d %d %d %t %x .%s %s",
		c.scenario, c.from, c.now, c.speed, c.sync, c.seed, c.batches, c.calm, c.boot[:2], c.killIn, c.dir)
}

func parseChild(s string) (c childConfig, err error) {
	var boot []byte
	_, err = fmt.Sscanf(s, "%s %d %d %d %d %d %d %t %x %s %s",
		&c.scenario, &c.from, &c.now, &c.speed, &c.sync, &c.seed, &c.batches, &c.calm, &boot, &c.killIn, &c.dir)
	copy(c.boot[:], boot)
	c.killIn = strings.TrimPrefix(c.killIn, ".")
	return c, err
}

func TestFaultChild(t *testing.T) {
	env := os.Getenv(envChild)
	if env == "" {
		t.Skip("runs as a child of the fault suite only")
	}
	c, err := parseChild(env)
	if err != nil {
		t.Fatal(err)
	}
	out := &childOutput{w: os.Stdout}
	switch c.scenario {
	case "load":
		childLoad(c, out)
	case "results":
		childResults(c, out)
	case "errors":
		childErrors(c, out)
	case "stopped":
		childStopped(c, out)
	case "full":
		childFull(c, out)
	default:
		t.Fatal(c.scenario)
	}
}

// childOutput writes whole lines; a pipe takes each of them in one piece.
type childOutput struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *childOutput) printf(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fmt.Fprintf(o.w, "#"+format+"\n", args...)
}

// startChild starts the child under the given command, with what stdin holds.
func startChild(t *testing.T, c childConfig, stdin string, wrap ...string) (*exec.Cmd, io.Reader) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(wrap, self, "-test.run=^TestFaultChild$", "-test.count=1", "-test.timeout=10m")
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), envChild+"="+c.env(), envFaults+"=", envJSON+"=")
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, stdout
}

// acked tells that marks were acknowledged.
func (o *childOutput) acked(e *Engine, from, n uint64, at int64) {
	o.printf("a %d %d %d %d %d .", from, n, at, e.clock.read(), time.Now().UnixNano())
}

const (
	childWindow   = time.Hour
	childInterval = 5 * time.Millisecond
)

func (c childConfig) options() config {
	begun := time.Now()
	o := config{Options: Options{
		Window:      childWindow,
		Capacity:    20_000,
		Generations: 8,
		Shards:      4,
		Sync:        c.sync,
		SyncEvery:   childInterval,
		MinFreeDisk: -1,
		Now:         func() time.Time { return time.Unix(0, c.now).Add(time.Since(begun) * time.Duration(c.speed)) },
	}, hooks: hooks{
		tableKeys: 6000,
		ringBytes: 64 << 10,
		lastFlush: 3000,
		workEvery: 20 * time.Millisecond,
	}}
	if c.scenario == "results" {
		o.MaxResult, o.Lease = 1<<10, 1000*time.Hour // no claim ends by itself, however busy the machine is
	}
	if c.boot != [16]byte{} {
		o.bootID = &c.boot
	}
	if c.calm {
		o.tableKeys, o.ringBytes = 100_000, 8<<20
	}
	return o
}

// childLoad marks new keys and asks for old ones, in three goroutines, until it
// is killed or has done its batches; then it closes and begins anew.
func childLoad(c childConfig, out *childOutput) {
	var old []keyRange
	for s := bufio.NewScanner(os.Stdin); s.Scan(); {
		var k keyRange
		if n, _ := fmt.Sscan(s.Text(), &k.from, &k.n, &k.at); n == 3 {
			old = append(old, k)
		}
	}
	opts := c.options()
	opts.phase, opts.fs = c.phases(out), toldFS{vfs.OS(), out}
	next := c.from
	for life := 0; ; life++ {
		done := opts.phase("open")
		e, err := openWith(c.dir, opts)
		done()
		if err != nil {
			out.printf("e open: %v", err)
			return
		}
		var mu sync.Mutex
		take := func(n uint64) uint64 {
			mu.Lock()
			defer mu.Unlock()
			next += n
			return next - n
		}
		var wg sync.WaitGroup
		for g := range 3 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				rng := rand.New(rand.NewPCG(c.seed, uint64(100*life+g)))
				for range max(c.batches, 1) {
					if err := childBatch(e, rng, take, old, out); err != nil {
						out.printf("e %v", err)
						return
					}
					if c.calm {
						<-time.After(time.Duration(rng.IntN(10)) * time.Millisecond)
					}
				}
			}()
		}
		wg.Wait()
		done = opts.phase("close")
		if err := e.Close(); err != nil {
			out.printf("e close: %v", err)
			return
		}
		done()
	}
}

func childBatch(e *Engine, rng *rand.Rand, take func(uint64) uint64, old []keyRange, out *childOutput) error {
	ctx := context.Background()
	n := uint64(1 + rng.IntN(150))
	if rng.IntN(2) == 0 {
		n *= 4 // nearly all that the ring takes at once
	}
	from := take(n)
	at := e.clock.read()
	out.printf("t %d %d %d .", from, n, at)
	vs, err := e.AdmitBatch(ctx, nil, faultKeys(from, n))
	if err != nil {
		return fmt.Errorf("admit: %w", err)
	}
	out.acked(e, from, n, at)
	for i, v := range vs {
		if v != dedup.Fresh {
			out.printf("bad key %d, never tried before, is %v", from+uint64(i), v)
			break
		}
	}
	if len(old) == 0 {
		return nil
	}
	var keys [][]byte
	var asked []keyRange
	for range 20 {
		k := old[rng.IntN(len(old))]
		k.from, k.n = k.from+rng.Uint64N(k.n), 1
		keys, asked = append(keys, faultKey(k.from)), append(asked, k)
	}
	if vs, err = e.AdmitBatch(ctx, vs[:0], keys); err != nil {
		return fmt.Errorf("admit: %w", err)
	}
	for i, v := range vs {
		if v != dedup.Duplicate && e.clock.read()-asked[i].at < int64(childWindow) {
			out.printf("bad key %d was acknowledged, now it is %v", asked[i].from, v)
			return errors.New("missed")
		}
	}
	return nil
}

// childErrors marks keys until the first error, and then tries on: everything
// must be refused.
func childErrors(c childConfig, out *childOutput) {
	e, err := openWith(c.dir, c.options())
	if err != nil {
		out.printf("p error in open")
		return
	}
	ctx := context.Background()
	next := c.from
	for failed := 0; failed < 10; {
		keys := faultKeys(next, 50)
		at := e.clock.read()
		out.printf("t %d %d %d .", next, 50, at)
		_, err := e.AdmitBatch(ctx, nil, keys)
		switch {
		case err == nil && failed > 0:
			out.printf("bad a mark was accepted after a failed sync")
			return
		case err == nil:
			out.acked(e, next, 50, at)
			if next-c.from > 20_000 {
				out.printf("bad no sync failed in %d keys", next-c.from)
				return
			}
		case !errors.Is(err, dedup.ErrFailed):
			out.printf("bad a failed sync gave %s", strconv.Quote(err.Error()))
			return
		default:
			failed++
		}
		next += 50
	}
	out.printf("p refused")
}
