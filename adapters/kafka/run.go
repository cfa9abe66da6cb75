package kafka

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/adapters/consume"
)

// pollRecords is the most records of one poll: while they are handed out a rebalance
// waits.
const pollRecords = 10_000

// Run polls a client that was made with Options, and has its records handled until
// ctx ends or the client is closed. Then it waits for the handlers that run, up to
// Options.Grace, commits what was acknowledged, and returns nil. Errors of the
// broker are logged and tried again. An Adapter runs once: what it had polled and
// not handled when it ended is for the partition's next owner.
func (a *Adapter) Run(ctx context.Context, cl *kgo.Client, h Handler) error {
	if err := checkClient(cl); err != nil {
		return err
	}
	if a.ran.Swap(true) {
		return errors.New("kafka: Run was called before")
	}
	handle := func(ctx context.Context, m consume.Message) error { return h(ctx, m.Value.(*kgo.Record)) }
	for ctx.Err() == nil {
		fetches := cl.PollRecords(ctx, pollRecords)
		if fetches.IsClientClosed() {
			break
		}
		if ctx.Err() == nil {
			fetches.EachError(func(topic string, id int32, err error) {
				a.o.Logger.Warn("kafka: fetch", "topic", topic, "partition", id, "error", err)
			})
			fetches.EachPartition(func(p kgo.FetchTopicPartition) {
				if len(p.Records) > 0 {
					a.partition(cl, place{p.Topic, p.Partition}, handle).add(p.Records)
				}
			})
		}
		cl.AllowRebalance()
	}
	a.finish(ctx, cl)
	return nil
}

// finish stops all partitions and commits.
func (a *Adapter) finish(ctx context.Context, cl *kgo.Client) {
	a.mu.Lock()
	all := map[string][]int32{}
	for at := range a.mu.partitions {
		all[at.topic] = append(all[at.topic], at.partition)
	}
	a.mu.Unlock()
	a.end(cl, a.take(all), ErrRevoked, a.o.Grace)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := cl.CommitMarkedOffsets(last); err != nil {
		a.o.Logger.Warn("kafka: the last commit failed; records come again", "error", err)
	}
}

// partition returns the goroutine of a partition. Only Run calls it, between a poll
// and AllowRebalance, so the partition is this client's.
func (a *Adapter) partition(cl *kgo.Client, at place, h consume.Handler) *partition {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.mu.partitions[at]
	if p == nil {
		p = newPartition(a, cl, at, h)
		a.mu.partitions[at] = p
		go p.run() // ends with stop
	}
	return p
}
