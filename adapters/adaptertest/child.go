package adaptertest

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// childEnv has the order of a child process, as JSON.
const childEnv = "FIRSTSEEN_ADAPTERTEST_CHILD"

// An order is what a child process has to do.
type order struct {
	Config  string
	Address string
	Dir     string
	Ledger  string
	Lease   time.Duration
	Seed    uint64
	Fail    float64 // share of handlers that fail, before their effect
	Dies    step    // where the process kills itself
	After   int     // this many times the step was passed before
}

// A step of a message's way, at which a consumer dies.
type step string

const (
	beforeClaim  step = "before the claim"
	afterClaim   step = "after the claim"
	inHandler    step = "in the handler, before its effect"
	afterEffect  step = "after the effect"
	beforeCommit step = "before the commit"
	afterCommit  step = "after the commit, before the acknowledgement"
)

// Main runs the tests of a package whose adapters are checked. TestMain calls it
// with its *testing.M, or with something that runs that and cleans up, and with all
// configurations. In a child process it consumes instead, until it is killed or
// gets SIGTERM. It doesn't return.
func Main(m interface{ Run() int }, configs ...Config) {
	text := os.Getenv(childEnv)
	if text == "" {
		if slices.ContainsFunc(configs, func(c Config) bool { return c.AtOnce }) {
			runAtOnce()
		}
		os.Exit(m.Run())
	}
	if err := runChild(text, configs); err != nil {
		fmt.Fprintln(os.Stderr, "adaptertest: child:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// runAtOnce lets more tests run at a time than there are processors: they wait most
// of the time.
func runAtOnce() {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", "8") // every test binary has this flag
	}
}

func runChild(text string, configs []Config) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return fmt.Errorf("reading the order: %w", err)
	}
	for _, c := range configs {
		if c.Name == o.Config {
			return o.consume(c)
		}
	}
	return fmt.Errorf("TestMain gave Main no configuration with the name %q", o.Config)
}

// consume is a child's life.
func (o order) consume(c Config) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	l, err := openLedger(o.Ledger)
	if err != nil {
		return err
	}
	g, closeGuard, err := c.Guard(o.Dir, o.Lease)
	if err != nil {
		return fmt.Errorf("opening the guard: %w", err)
	}
	defer func() { err = errors.Join(err, closeGuard()) }()
	d := &dying{Guard: g, order: o, ledger: l}
	random := rand.New(rand.NewPCG(o.Seed, 1))
	var mu sync.Mutex
	fails := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return random.Float64() < o.Fail
	}
	err = c.Consume(ctx, Session{Address: o.Address, Guard: d, Handle: func(ctx context.Context, key string) error {
		d.at(inHandler)
		if fails() {
			return errors.New("adaptertest: a handler that fails at random")
		}
		effect := func() error { return l.note("effect", key) }
		if c.Effect != nil {
			effect = func() error { return c.Effect(ctx, o.Dir, key) }
		}
		if err := effect(); err != nil {
			return err
		}
		d.at(afterEffect)
		return nil
	}})
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil
	}
	return err
}

// A dying guard kills its process at a step, and tells the ledger of commits.
type dying struct {
	dedup.Guard
	order  order
	ledger ledger
	passed atomic.Int64
}

func (d *dying) at(s step) {
	if d.order.Dies != s || d.passed.Add(1) <= int64(d.order.After) {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal comes
}

func (d *dying) Claim(ctx context.Context, key []byte) (dedup.Claim, error) {
	d.at(beforeClaim)
	c, err := d.Guard.Claim(ctx, key)
	d.at(afterClaim)
	return c, err
}

func (d *dying) ClaimBatch(ctx context.Context, cs []dedup.Claim, keys [][]byte) ([]dedup.Claim, error) {
	d.at(beforeClaim)
	cs, err := d.Guard.ClaimBatch(ctx, cs, keys)
	d.at(afterClaim)
	return cs, err
}

func (d *dying) Commit(ctx context.Context, claims ...dedup.Claim) error {
	d.at(beforeCommit)
	err := d.Guard.Commit(ctx, claims...)
	lost := map[int]bool{}
	for _, at := range dedup.IndexesOf(err, dedup.ErrLeaseLost) {
		lost[at] = true
	}
	if err == nil || len(lost) > 0 || errors.Is(err, dedup.ErrResultTooLarge) {
		for at, c := range claims {
			if c.Verdict != dedup.Fresh {
				continue
			}
			event := "commit"
			if lost[at] {
				event = "lost"
			}
			// The message's key ends the guard's key, whatever the scope before it.
			if err := d.ledger.note(event, string(c.Key[max(0, len(c.Key)-keyLen):])); err != nil {
				return err
			}
		}
	}
	d.at(afterCommit)
	return err
}

// keyLen is the length of every key of a case with child processes.
const keyLen = len("prefix-000000")

// childKeys makes keys of that length.
func childKeys(n int) []string { return keysOf("prefix", n) }

// A child is a consumer in a process of its own.
type child struct {
	cmd    *exec.Cmd
	ledger string
	killed bool
	dies   step          // where it kills itself, in a storm
	exited chan struct{} // closed when err is there
	err    error
}

// spawn starts a child.
func (b *bed) spawn(o order) *child {
	b.Helper()
	o.Config, o.Address, o.Dir, o.Lease = b.Config.Name, b.address, b.guardDir(), b.lease
	b.children++
	o.Ledger = filepath.Join(b.dir, fmt.Sprintf("ledger-%d", b.children))
	text, err := json.Marshal(o)
	if err == nil {
		err = os.MkdirAll(o.Dir, 0o700)
	}
	if err != nil {
		b.Fatal(err)
	}
	c := &child{cmd: exec.Command(os.Args[0]), ledger: o.Ledger, exited: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	c.cmd.Stdout, c.cmd.Stderr = io.Discard, os.Stderr
	if err := c.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	go func() { // ends with the process
		c.err = c.cmd.Wait()
		close(c.exited)
	}()
	b.stops = append(b.stops, func() { // a case that failed leaves no process behind
		_ = c.cmd.Process.Kill()
		<-c.exited
	})
	return c
}

// kill ends a child as a crash does.
func (c *child) kill() {
	c.killed = true
	_ = c.cmd.Process.Kill()
	<-c.exited
}

// terminate stops a child in good order.
func (b *bed) terminate(c *child) {
	b.Helper()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.exited:
		if c.err != nil {
			b.Errorf("a consumer that was told to stop: %v", c.err)
		}
	case <-time.After(b.Patience):
		b.Errorf("a consumer did not stop within %v", b.Patience)
		c.kill()
	}
}

// alive reports whether the child still runs.
func (c *child) alive() bool {
	select {
	case <-c.exited:
		return false
	default:
		return true
	}
}
