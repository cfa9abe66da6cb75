package partitioned

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/adapters/kafka/marks"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
)

// MemoriesOptions are those of Memories. Dir, Input, Group, Client and Engine.Window
// are required; see Options for what each means.
type MemoriesOptions struct {
	Dir, Input, Marks, Group string
	Client                   []kgo.Opt
	Engine                   engine.Options
	OnGap                    func(partition int32, why string)
	Logger                   *slog.Logger
}

// Memories are the guards of a topic's partitions, for effects outside of Kafka: each
// is a directory of its own, and what it marks is in the log of marks before a
// commit returns, so that the partition's next owner knows it.
type Memories struct {
	n    *Node
	s    *session
	cl   *kgo.Client
	stop context.CancelFunc // of watch
	over chan struct{}      // closed when watch has returned
}

// OpenMemories checks the topics, and makes the log of marks where there is none.
// Give Memories.Guard to kafka.Options.Guards, and call Close when the adapter's Run
// has returned.
func OpenMemories(ctx context.Context, o MemoriesOptions) (*Memories, error) {
	n, err := newNode(Options{Dir: o.Dir, Input: o.Input, Marks: o.Marks, Group: o.Group, Client: o.Client, Engine: o.Engine,
		OnGap: o.OnGap, Logger: o.Logger}, false)
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(append(append([]kgo.Opt{}, o.Client...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))...)
	if err != nil {
		return nil, fmt.Errorf("partitioned: client: %w", err)
	}
	m := &Memories{n: n, cl: cl, s: &session{Node: n, adm: kadm.NewClient(cl), ctx: context.WithoutCancel(ctx)}, over: make(chan struct{})}
	if err := n.start(ctx, m.s.adm); err != nil {
		cl.Close()
		return nil, err
	}
	ctx, m.stop = context.WithCancel(m.s.ctx)
	every, _ := cl.OptValue(kgo.MetadataMaxAge).(time.Duration)
	go m.watch(ctx, every) // ends with Close
	return m, nil
}

// watch looks for partitions that were added, as often as the client does: Guard is only
// asked for those that come here.
func (m *Memories) watch(ctx context.Context, every time.Duration) {
	defer close(m.over)
	for every > 0 && ctx.Err() == nil {
		pause(ctx, every)
		m.s.count(ctx)
	}
}

// Stats returns the counters of the loads, and what is known of the partitions.
func (m *Memories) Stats() Stats { return m.n.Stats() }

// Close closes the directories. No handler may run any more.
func (m *Memories) Close() {
	m.stop()
	<-m.over
	m.n.shutAll()
	m.cl.Close()
}

// Guard is a kafka.Guards: it reads the partition's log into its directory, and opens
// that. Results of claims are kept in the directory only and do not follow the
// partition.
func (m *Memories) Guard(ctx context.Context, topic string, partition int32) (dedup.Guard, func(), error) {
	if topic != m.n.o.Input {
		return nil, nil, fmt.Errorf("partitioned: topic %q, these are the memories of %q", topic, m.n.o.Input)
	}
	m.n.mu.Lock()
	mem := newMemory(ctx, m.n, partition)
	m.n.mu.memories[partition] = mem
	m.n.mu.Unlock()
	err := m.s.fill(mem)
	close(mem.ready)
	done := func() {
		mem.shut()
		<-mem.closed
	}
	if err != nil {
		done()
		return nil, nil, fmt.Errorf("partitioned: reading the log of partition %d: %w", partition, err)
	}
	return &logged{Engine: mem.e, m: mem, cl: m.cl}, done, nil
}

// logged is an engine whose marks are in the log first.
type logged struct {
	*engine.Engine
	m  *memory
	cl *kgo.Client
}

// Commit implements dedup.Guard. A claim that turns out to be lost after its mark was
// logged is marked for the partition's next owner all the same: its effect has
// happened.
func (l *logged) Commit(ctx context.Context, claims ...dedup.Claim) error {
	var keys [][]byte
	for i := range claims {
		if claims[i].Verdict == dedup.Fresh {
			keys = append(keys, claims[i].Key)
		}
	}
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	end := l.m.position.Offset
	for now := time.Now(); len(keys) > 0; {
		value, n := marks.Append(nil, now, keys, marksBytes)
		keys = keys[n:]
		r, err := l.cl.ProduceSync(ctx, l.m.n.marksRecord(l.m.id, value)).First()
		if err != nil {
			return fmt.Errorf("partitioned: writing marks of partition %d to their log: %w", l.m.id, err)
		}
		if r.Offset == end { // else an earlier owner still writes, which only the next load reads
			end++
		}
	}
	if err := l.Engine.Commit(ctx, claims...); err != nil {
		return err
	}
	l.m.position.Offset = end
	return l.m.noteLocked()
}
