package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// commitEvery is how often the client commits what was acknowledged; what a killed
// process had not committed comes again, and is a duplicate then.
const commitEvery = time.Second

// Options returns what kgo.NewClient needs so that Run can work with the client:
// offsets are committed only when a record is acknowledged, and the adapter knows
// which partitions it has. Give your own hooks in Options.Hooks. An
// AutoCommitInterval that follows replaces that of one second.
func (a *Adapter) Options() []kgo.Opt {
	return []kgo.Opt{
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(commitEvery),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(a.assigned),
		kgo.OnPartitionsRevoked(a.revoked),
		kgo.OnPartitionsLost(a.lost),
	}
}

// checkClient names everything that would lose or repeat records.
func checkClient(cl *kgo.Client) error {
	var problems []error
	if group, _ := cl.OptValue(kgo.ConsumerGroup).(string); group == "" {
		problems = append(problems, errors.New("it has no ConsumerGroup"))
	}
	if share, _ := cl.OptValue(kgo.ShareGroup).(string); share != "" {
		problems = append(problems, errors.New("it is in a share group, in which nobody owns a partition"))
	}
	for name, opt := range map[string]any{"AutoCommitMarks": kgo.AutoCommitMarks, "BlockRebalanceOnPoll": kgo.BlockRebalanceOnPoll} {
		if set, _ := cl.OptValue(opt).(bool); !set {
			problems = append(problems, fmt.Errorf("%s is not set: it was made without Adapter.Options", name))
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("kafka: this client can't be used: %w", errors.Join(problems...))
	}
	return nil
}

func (a *Adapter) assigned(ctx context.Context, cl *kgo.Client, got map[string][]int32) {
	if a.o.Hooks.Assigned != nil {
		a.o.Hooks.Assigned(ctx, cl, got)
	}
}

// revoked: the partitions are this client's until it returns, so what was
// acknowledged is committed here.
func (a *Adapter) revoked(ctx context.Context, cl *kgo.Client, gone map[string][]int32) {
	a.end(cl, a.take(gone), ErrRevoked, a.o.Grace)
	if err := cl.CommitMarkedOffsets(ctx); err != nil {
		a.o.Logger.Warn("kafka: the commit at a rebalance failed; records come again", "error", err)
	}
	if a.o.Hooks.Revoked != nil {
		a.o.Hooks.Revoked(ctx, cl, gone)
	}
}

// lost: they are somebody else's already.
func (a *Adapter) lost(ctx context.Context, cl *kgo.Client, gone map[string][]int32) {
	a.end(cl, a.take(gone), ErrLost, 0)
	if a.o.Hooks.Lost != nil {
		a.o.Hooks.Lost(ctx, cl, gone)
	}
}

// take removes partitions from those that have a goroutine.
func (a *Adapter) take(gone map[string][]int32) (taken []*partition) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for topic, ids := range gone {
		for _, id := range ids {
			at := place{topic, id}
			if p := a.mu.partitions[at]; p != nil {
				taken = append(taken, p)
				delete(a.mu.partitions, at)
			}
		}
	}
	return taken
}

// end stops partitions: nothing new is begun, and what runs has the grace to end.
// It returns when no handler of them runs.
func (a *Adapter) end(cl *kgo.Client, ps []*partition, cause error, grace time.Duration) {
	for _, p := range ps {
		p.stop(cause)
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	over := grace == 0
	for _, p := range ps {
		for !over {
			select {
			case <-p.done:
			case <-timer.C:
				over = true
				continue
			}
			break
		}
		if over {
			break
		}
	}
	for _, p := range ps {
		p.cancel(cause)
	}
	for _, p := range ps {
		<-p.done
		cl.ResumeFetchPartitions(p.asMap()) // a pause would outlive the assignment
	}
}
