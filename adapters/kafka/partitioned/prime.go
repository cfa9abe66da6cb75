package partitioned

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/adapters/kafka"
	"github.com/firstseen/firstseen/adapters/kafka/marks"
)

// primeKeys is the most keys of a record of marks that Prime writes.
const primeKeys = 10_000

// PrimeStats say what Prime did.
type PrimeStats struct {
	Records uint64 `json:"records"` // within the window
	Keys    uint64 `json:"keys"`    // marked; a key that comes twice counts twice
	NoKey   uint64 `json:"no_key"`
}

// Prime fills the log of marks from a topic that somebody wrote or handled before, so
// that the first window passes no duplicates of that. It is called once, before any
// Node of the group runs, and refuses a group that has members. The topic is
//
//   - an output: all of its records within the window count as copied before;
//   - the input itself: those count that lie before the group's committed offsets.
//
// Options are those of the Nodes; their Key is asked for each record, and the
// record's timestamp is the time of its mark. A record stands for the partition of
// the same number where the topic has as many as the input, else for that of its key
// (murmur2). When Prime is cut short, call it again: marks that are written twice do
// no harm.
func Prime(ctx context.Context, o Options, topic string) (PrimeStats, error) {
	if o.Dir == "" {
		o.Dir = "." // not used
	}
	o, err := o.withDefaults(true)
	if err != nil {
		return PrimeStats{}, err
	}
	cl, err := kgo.NewClient(append(append([]kgo.Opt{}, o.Client...), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		return PrimeStats{}, fmt.Errorf("partitioned: client: %w", err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	p := primer{o: o, cl: cl, open: map[int32]*primed{}, promise: kgo.AbortingFirstErrPromise(cl)}
	if p.partitions, err = prepare(ctx, adm, o); err != nil {
		return p.stats, err
	}
	if err := requireIdle(ctx, adm, o.Group); err != nil {
		return p.stats, err
	}
	spans, err := spansOf(ctx, adm, topic, time.Now().Add(-o.Engine.Window))
	if err == nil && topic == o.Input {
		err = cutToCommitted(ctx, adm, o, spans)
	}
	if err != nil {
		return p.stats, err
	}
	p.same = len(spans) == p.partitions
	for _, s := range spans {
		err := s.read(ctx, o.Client, func(r *kgo.Record) error { return p.add(ctx, r) })
		if err != nil {
			return p.stats, fmt.Errorf("partitioned: priming: %w", err)
		}
	}
	for id := range p.open {
		p.flush(ctx, id)
	}
	if err := errors.Join(cl.Flush(ctx), p.promise.Err()); err != nil {
		return p.stats, fmt.Errorf("partitioned: writing marks: %w", err)
	}
	return p.stats, nil
}

// requireIdle refuses a group whose members would not learn of new marks.
func requireIdle(ctx context.Context, adm *kadm.Client, group string) error {
	groups, err := adm.DescribeGroups(ctx, group)
	for giveUp := time.Now().Add(topicsWait); err != nil && time.Now().Before(giveUp) && ctx.Err() == nil; {
		pause(ctx, 100*time.Millisecond) // a new cluster's coordinator takes a while
		groups, err = adm.DescribeGroups(ctx, group)
	}
	if err != nil {
		return fmt.Errorf("partitioned: the group: %w", err)
	}
	if n := len(groups[group].Members); n > 0 {
		return fmt.Errorf("partitioned: group %q has %d members, which would not learn of the marks: stop them first", group, n)
	}
	return nil
}

// cutToCommitted ends the spans of the input where the group has come to.
func cutToCommitted(ctx context.Context, adm *kadm.Client, o Options, spans []span) error {
	offsets, err := adm.FetchOffsets(ctx, o.Group)
	if err != nil {
		return fmt.Errorf("partitioned: offsets of group %q: %w", o.Group, err)
	}
	some := false
	for i := range spans {
		at, ok := offsets.Lookup(o.Input, spans[i].id)
		if some = some || ok; !ok {
			spans[i].end = 0
		}
		spans[i].end = min(spans[i].end, at.At)
	}
	if !some {
		return fmt.Errorf("partitioned: group %q has committed no offset of %q, so none of its records counts as handled", o.Group, o.Input)
	}
	return nil
}

// A primer collects keys and writes them to the log.
type primer struct {
	o          Options
	cl         *kgo.Client
	partitions int
	same       bool // the topic has as many
	open       map[int32]*primed
	promise    *kgo.FirstErrPromise
	stats      PrimeStats
}

// primed are keys of one partition that are not written yet.
type primed struct {
	first, last time.Time
	keys        [][]byte
}

func (p *primer) add(ctx context.Context, r *kgo.Record) error {
	if r.Attrs.IsControl() {
		return nil
	}
	p.stats.Records++
	key := p.o.key(r)
	if len(key) == 0 {
		p.stats.NoKey++
		return nil
	}
	id := r.Partition
	if !p.same {
		id = kafka.KeyPartition(key, p.partitions)
	}
	// All keys of a record of marks have the time of its last one, so that none is
	// forgotten early: times that lie far apart don't share one.
	b := p.open[id]
	if b != nil && (len(b.keys) >= primeKeys || r.Timestamp.Sub(b.first).Abs() > p.o.Engine.Window/100) {
		p.flush(ctx, id)
		b = nil
	}
	if b == nil {
		b = &primed{first: r.Timestamp}
		p.open[id] = b
	}
	if r.Timestamp.After(b.last) {
		b.last = r.Timestamp
	}
	b.keys = append(b.keys, key)
	p.stats.Keys++
	return p.promise.Err()
}

func (p *primer) flush(ctx context.Context, id int32) {
	b := p.open[id]
	delete(p.open, id)
	for keys := b.keys; len(keys) > 0; {
		value, n := marks.Append(nil, b.last, keys, marksBytes)
		keys = keys[n:]
		r := marksRecord(p.o.Marks, id, value, p.partitions)
		r.Timestamp = b.last
		p.cl.Produce(ctx, r, p.promise.Promise())
	}
}
