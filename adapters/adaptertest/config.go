package adaptertest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// Config says what is checked. All functions but Drained, Effect and Effects are
// required. Consume, Guard and Effect are also called in child processes, so they
// take what they need from their arguments and not from what a test prepared.
type Config struct {
	// Name tells the configurations of one test binary apart.
	Name string
	// NewTopic makes an empty topic (queue, stream) with whatever a consumer
	// needs to start there, and returns all that Produce and Consume have to know
	// as text, for example a URL.
	NewTopic func(t testing.TB) (address string)
	// Produce sends one message for each key and returns when the broker has them.
	// The message of an empty key has none.
	Produce func(t testing.TB, address string, keys ...string)
	// Consume handles messages by the adapter until ctx ends. Then it stops in good
	// order: it returns when no handler runs any more.
	Consume func(ctx context.Context, s Session) error
	// Guard opens the memory of keys in dir, which exists and is the case's own.
	// Stores that are elsewhere take a name from dir. close gives it free.
	Guard func(dir string, lease time.Duration) (g dedup.Guard, close func() error, err error)
	// Drained reports that no message waits, is being handled or is due to be
	// delivered again. nil: the suite waits for the effects, and for Quiet.
	Drained func(address string) (bool, error)

	// Effect and Effects replace the suite's ledger in a storm: Effect makes a
	// key's effect in the handler's goroutine, for example in one transaction with
	// CommitTx, and Effects counts the effects of every key. With them every
	// effect must have happened exactly once, whatever was killed.
	Effect  func(ctx context.Context, dir, key string) error
	Effects func(t testing.TB, dir string) map[string]int

	// Processes is how many processes may share one guard. By default 1, as for
	// the embedded engine.
	Processes int
	// Patience is how long the suite waits for what has to come: above all
	// longer than the broker takes to deliver the messages of a dead consumer
	// again. By default 30 seconds; a storm waits until nothing happened for so long.
	Patience time.Duration
	// Quiet is how long the suite looks for effects too many where it has no
	// Drained. By default 2 seconds.
	Quiet time.Duration
	// AtOnce has the cases of Run go on at once, for brokers with long pauses
	// between deliveries. Main then lets eight tests of the package run at a time,
	// unless -parallel says something else.
	AtOnce bool
}

// A Session is what Consume works with.
type Session struct {
	Address string
	// Guard is what the adapter asks. It is the one that Config.Guard opened,
	// behind something that fails where the case says so.
	Guard dedup.Guard
	// Handle is the application's handler. The adapter's own handler gives it
	// the message's key, and returns its error or lets its panic pass.
	Handle func(ctx context.Context, key string) error
}

func (c Config) withDefaults() Config {
	if c.Processes == 0 {
		c.Processes = 1
	}
	if c.Patience == 0 {
		c.Patience = 30 * time.Second
	}
	if c.Quiet == 0 {
		c.Quiet = 2 * time.Second
	}
	return c
}

// longLease outlives a case; shortLease is for handlers that are slower, and for
// consumers that die.
const (
	longLease  = 5 * time.Minute
	shortLease = time.Second
)

type testCase struct {
	name  string
	lease time.Duration
	run   func(b *bed)
}

func cases() []testCase { return append(handlerCases, crashCases...) }

// Run checks an adapter, one subtest for each case, or for those that are named.
// The package's TestMain must call Main.
func Run(t *testing.T, c Config, only ...string) {
	t.Helper()
	c = c.withDefaults()
	ran := 0
	for _, tc := range cases() {
		if len(only) > 0 && !slices.Contains(only, tc.name) {
			continue
		}
		ran++
		t.Run(tc.name, func(t *testing.T) {
			if c.AtOnce {
				t.Parallel()
			}
			c.check(t, tc)
		})
	}
	if len(only) > 0 && ran != len(only) {
		t.Errorf("%d cases ran of those that were named: %q", ran, only)
	}
}

// check runs one case; t may be any recorder whose FailNow ends the goroutine.
func (c Config) check(t testing.TB, tc testCase) {
	b := &bed{TB: t, Config: c, dir: t.TempDir(), lease: tc.lease}
	b.address = c.NewTopic(t)
	defer b.end()
	tc.run(b)
}
