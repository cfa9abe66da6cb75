package partitioned

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
	"github.com/firstseen/firstseen/engine/inspect"
)

// noteEvery is how often the position of a partition is written while it is open.
const noteEvery = 10 * time.Second

// A memory is what is known of a partition from its assignment on.
type memory struct {
	n      *Node
	id     int32
	ctx    context.Context // of the load
	cancel context.CancelFunc
	before *memory       // has the directory until it is closed
	ready  chan struct{} // closed when the load has ended
	closed chan struct{} // closed when the directory is
	once   sync.Once     // of shut

	progress progress
	fewest   int                           // partitions that the input had, of the records of the window that were read; the load's own
	open     atomic.Pointer[engine.Engine] // that is or was e, for Stats

	// mu is held by a round that uses the memory, and to close it.
	mu       sync.Mutex
	e        *engine.Engine // nil: not loaded, or closed
	position position       // of the marks that e has
	due      struct {       // a position whose marks are durable once the journal is
		position
		at time.Time
	}
}

// newMemory returns a memory that takes the partition's directory from the one
// before it. The caller holds n.mu.
func newMemory(ctx context.Context, n *Node, id int32) *memory {
	m := &memory{n: n, id: id, before: n.mu.memories[id], ready: make(chan struct{}), closed: make(chan struct{})}
	if m.before != nil { // the client doesn't tell of every loss
		m.before.shut()
	}
	m.ctx, m.cancel = context.WithCancel(ctx)
	return m
}

// assigned is called by the client before it fetches offsets. Nothing of the
// partitions is fetched until their logs have been read.
func (s *session) assigned(_ context.Context, cl *kgo.Client, got map[string][]int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, generation := cl.GroupMetadata()
	s.o.Logger.Info("partitioned: assigned", "generation", generation, "partitions", got[s.o.Input])
	cl.PauseFetchPartitions(got)
	go s.count(s.ctx) // ends with the answer, or the session; each rebalance may be for added partitions
	for _, id := range got[s.o.Input] {
		m := newMemory(s.ctx, s.Node, id)
		s.mu.memories[id] = m
		go s.load(cl, m) // ends with the load, or by shut
	}
}

// gone: other processes may own the partitions.
func (s *session) gone(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	s.taken.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range gone[s.o.Input] {
		if m := s.mu.memories[id]; m != nil {
			m.shut()
		}
	}
}

// load fills the memory and has the partition fetched.
func (s *session) load(cl *kgo.Client, m *memory) {
	err := s.fill(m)
	close(m.ready)
	switch {
	case err == nil && m.ctx.Err() == nil:
		cl.ResumeFetchPartitions(map[string][]int32{s.o.Input: {m.id}})
	case err != nil && m.ctx.Err() == nil:
		s.fail(fmt.Errorf("partitioned: reading the log of partition %d: %w", m.id, err))
	}
}

func (s *session) fill(m *memory) error {
	if m.before != nil {
		<-m.before.closed
		m.before = nil
	}
	if m.id >= s.atStart {
		if err := s.awaitTopics(m.ctx, m.id); err != nil {
			return err
		}
	}
	began := time.Now()
	got, err := s.replay(m.ctx, m)
	if err != nil {
		return err
	}
	if got.e == nil { // everything in it is durable
		o := s.engine
		o.NotBefore = 0 // replay asked for it
		if got.e, err = engine.Open(s.directory(m.id), o); err != nil {
			return fmt.Errorf("opening the directory: %w", err)
		}
		got.position.NotBefore = got.e.Stats().Journal.Durable
		got.durable = got.position
	}
	m.progress.took.Store(int64(time.Since(began)))
	s.loads.Add(1)
	s.o.Logger.Info("partitioned: partition ready", "partition", m.id, "keys", got.stats.Keys, "new", got.stats.Marked, "took", time.Since(began))
	m.mu.Lock()
	m.e, m.position = got.e, got.position
	m.open.Store(got.e)
	m.mu.Unlock()
	m.compare()
	m.mu.Lock()
	defer m.mu.Unlock()
	got.durable.Partitions = m.position.Partitions
	return got.durable.write(s.directory(m.id) + ".position")
}

// shut ends the memory: after the round that uses it, its directory is closed. It
// doesn't wait; closed tells.
func (m *memory) shut() {
	m.once.Do(func() {
		m.cancel()
		go m.close() // ends when the load and the round that use it have ended
	})
}

func (m *memory) close() {
	defer close(m.closed)
	<-m.ready
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.e == nil {
		return
	}
	err := m.e.Close()
	m.e = nil
	dir := m.n.directory(m.id)
	if err == nil {
		// Close made all marks durable; what the journal has come to by then is what a
		// directory must have come to that is to hold them.
		var in inspect.Inspection
		if in, err = inspect.Inspect(context.Background(), dir); err == nil {
			m.position.NotBefore = in.Journal.Durable
			err = m.position.write(dir + ".position")
		}
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		m.n.o.Logger.Warn("partitioned: closing a directory", "partition", m.id, "error", err)
	}
}

// markLocked marks keys whose marks are committed in the log below offset end.
func (m *memory) markLocked(ctx context.Context, keys [][]byte, end int64) error {
	if len(keys) > 0 {
		vs, err := m.e.AdmitBatch(ctx, make([]dedup.Verdict, 0, len(keys)), keys)
		if err != nil {
			return fmt.Errorf("partitioned: marking %d keys of partition %d: %w", len(vs), m.id, err)
		}
	}
	m.position.Offset = max(m.position.Offset, end)
	return m.noteLocked()
}

// noteLocked writes a position from time to time: first it takes down where the
// journal's end is, and when that has become durable it writes.
func (m *memory) noteLocked() error {
	j := m.e.Stats().Journal
	switch {
	case m.due.NotBefore > 0 && j.Durable >= m.due.NotBefore:
		err := m.due.position.write(m.n.directory(m.id) + ".position")
		m.due.NotBefore = 0
		return err
	case m.due.NotBefore == 0 && time.Since(m.due.at) > noteEvery:
		m.due.at, m.due.position = time.Now(), m.position
		m.due.NotBefore = j.Durable + uint64(max(0, j.Unsynced))
	}
	return nil
}
