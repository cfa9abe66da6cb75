package partitioned

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/engine"
	"github.com/firstseen/firstseen/internal/mem"
)

// restartAfter is the pause before what failed is tried again.
const restartAfter = time.Second

// A Node copies the partitions that its group gives it.
type Node struct {
	o      Options
	engine engine.Options // of one partition
	ran    atomic.Bool

	partitions atomic.Int32 // of the input; 0 until Run has begun
	atStart    int32        // partitions when Run began; all topics had them
	had        int          // fewest partitions that a directory in Dir knew of at the start, or atStart

	fresh, duplicate, noKey, misplaced   atomic.Uint64
	committed, aborted, sessions         atomic.Uint64
	loads, loadedKeys, loadedBytes, gaps atomic.Uint64

	mu struct {
		sync.Mutex
		memories map[int32]*memory // the newest of each partition, also those that are shut
	}
}

// New makes a Node. Its error names every problem of the options.
func New(o Options) (*Node, error) { return newNode(o, true) }

func newNode(o Options, copies bool) (*Node, error) {
	o, err := o.withDefaults(copies)
	if err != nil {
		return nil, err
	}
	n := &Node{o: o}
	n.mu.memories = map[int32]*memory{}
	return n, nil
}

// Run checks the topics and copies until ctx ends; then it ends its transaction,
// leaves the group, closes the directories and returns nil. Failures of the broker
// are logged, and a new session follows. An error says that a topic isn't fit.
func (n *Node) Run(ctx context.Context) error {
	if n.ran.Swap(true) {
		return errors.New("partitioned: Run was called before")
	}
	cl, err := kgo.NewClient(n.o.Client...)
	if err != nil {
		return fmt.Errorf("partitioned: client: %w", err)
	}
	defer cl.Close()
	if err := n.start(ctx, kadm.NewClient(cl)); err != nil {
		if ctx.Err() != nil {
			return nil // told to stop before it had begun
		}
		return err
	}
	for ctx.Err() == nil {
		err := n.session(ctx, cl)
		if ctx.Err() != nil {
			break
		}
		n.o.Logger.Warn("partitioned: the session ended, another follows", "error", err)
		pause(ctx, restartAfter)
	}
	return nil
}

// start makes the directory, checks the topics and divides the memory.
func (n *Node) start(ctx context.Context, adm *kadm.Client) error {
	if err := os.MkdirAll(n.o.Dir, 0o700); err != nil {
		return fmt.Errorf("partitioned: %w", err)
	}
	partitions, err := prepare(ctx, adm, n.o)
	if err != nil {
		return err
	}
	n.atStart, n.had = int32(partitions), partitions
	for id := range n.atStart {
		if pos, ok := readPosition(n.directory(id) + ".position"); ok && pos.Partitions > 0 {
			n.had = min(n.had, pos.Partitions)
		}
	}
	n.partitions.Store(n.atStart)
	n.divide(partitions)
	return nil
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// divide gives each partition its part of the memory. One that is added later gets as
// much, until the next start divides anew.
func (n *Node) divide(partitions int) {
	n.engine = n.o.Engine
	if n.engine.Capacity == 0 {
		n.engine.Capacity = 1_000_000 // engine's default
	}
	n.engine.Capacity = max(1, n.engine.Capacity/uint64(partitions))
	n.engine.MemoryBudget = partBudget(n.engine.MemoryBudget, mem.Limit(), int64(partitions))
	if n.engine.Logger == nil {
		n.engine.Logger = n.o.Logger
	}
}

// leastBudget is what a directory gets where the machine has too little for all of them.
const leastBudget = 32 << 20

// partBudget is a partition's part of the memory budget, by default of a quarter of what
// the process may have: each engine would take that for itself.
func partBudget(budget, limit, partitions int64) int64 {
	if budget == 0 && limit > 0 {
		return max(leastBudget, limit/4/partitions)
	}
	return budget / partitions
}

// session joins the group and copies until something fails or ctx ends. When it
// returns, all directories are closed.
func (n *Node) session(ctx context.Context, admin *kgo.Client) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	s := &session{Node: n, adm: kadm.NewClient(admin), plain: admin, ctx: ctx, fail: fail}
	// The first transaction asks for two topics, one right after the other, and the
	// second would wait for this age.
	opts := append([]kgo.Opt{kgo.MetadataMinAge(100 * time.Millisecond)}, n.o.Client...)
	opts = append(opts,
		kgo.ConsumerGroup(n.o.Group), kgo.ConsumeTopics(n.o.Input), kgo.TransactionalID(n.o.TransactionalID),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.OnPartitionsAssigned(s.assigned), kgo.OnPartitionsRevoked(s.gone), kgo.OnPartitionsLost(s.gone), kgo.WithHooks(s))
	kafka, err := kgo.NewGroupTransactSession(opts...)
	if err != nil {
		return fmt.Errorf("partitioned: client: %w", err)
	}
	s.kafka = kafka
	n.sessions.Add(1)
	defer n.shutAll()
	defer kafka.Close()
	for ctx.Err() == nil {
		if err := s.round(ctx); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// shutAll closes the directories and waits.
func (n *Node) shutAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.mu.memories {
		m.shut()
	}
	for id, m := range n.mu.memories {
		<-m.closed
		delete(n.mu.memories, id)
	}
}
