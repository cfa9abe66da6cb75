package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/adapters/internal/optcheck"
	"github.com/firstseen/firstseen/dedup"
)

// Causes of a handler's context that ended with its partition.
var (
	// ErrRevoked: the group gives the partition to somebody else, or Run ends.
	ErrRevoked = errors.New("kafka: partition revoked")
	// ErrLost: the group has given the partition to somebody else already.
	ErrLost = errors.New("kafka: partition lost")
)

// A Handler has the record's effect. An error has it handled again; one that wraps
// consume.ErrReject has it refused. See consume.Handler for the context.
type Handler func(ctx context.Context, r *kgo.Record) error

// Hooks are told of partitions after the adapter has done its part. They run in the
// client's goroutine, and hold up the rebalance.
type Hooks struct {
	Assigned, Revoked, Lost func(context.Context, *kgo.Client, map[string][]int32)
}

// Options of an Adapter. The zero value of every field but Application is the safe
// default.
type Options struct {
	// Application is the part of the scope that names this application. Required.
	Application string
	// Consume has everything else: policies, observing, the off switch, hooks. Its
	// Scope.Application, Key and Logger are set by this package.
	Consume consume.Options
	// Guards gives each partition a guard of its own, such as partitioned.Memories; then
	// the guard of New is nil. Consume.Join may be consume.PlainKey then.
	Guards Guards
	// Key makes a record's key; nil: the record's own key.
	Key func(r *kgo.Record) ([]byte, error)
	// AnyPartition says that producers don't partition by the key for deduplication on
	// purpose: no record's partition is compared, none counted as misplaced.
	AnyPartition bool
	// Batch is the most records of one partition that are claimed in one call.
	// Default 500.
	Batch int
	// RetryAfter is the pause before a failed record is handled again; it doubles
	// with each attempt up to 32 times that. Default 1 s.
	RetryAfter time.Duration
	// Grace is how long handlers may go on when their partition is revoked or Run
	// ends. It holds up the rebalance, so keep it well below the group's rebalance
	// timeout. Default 5 s.
	Grace time.Duration
	// DeadLetters is the topic to which refused records are sent, with their key,
	// value and headers and headers that say where they come from and why.
	DeadLetters string
	// OnReject is told of records that are refused, instead of DeadLetters. After an
	// error the record is handled again.
	OnReject func(ctx context.Context, r *kgo.Record, why error) error
	// Hooks are the application's own.
	Hooks Hooks
	// Logger gets what an operator should know. Default: slog.Default().
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	var c optcheck.Check
	c.Text("Application", o.Application)
	optcheck.Number(&c, "Batch", &o.Batch, 500)
	optcheck.Number(&c, "RetryAfter", &o.RetryAfter, time.Second)
	optcheck.Number(&c, "Grace", &o.Grace, 5*time.Second)
	if o.DeadLetters != "" && o.OnReject != nil {
		c.Badf("DeadLetters and OnReject are both set, one of them takes refused records")
	}
	c.Logger(&o.Logger)
	return o, c.Err("kafka")
}

// An Adapter decides about the records of one client.
type Adapter struct {
	o         Options
	c         *consume.Consumer
	placement placement
	ran       atomic.Bool

	mu struct {
		sync.Mutex
		partitions map[place]*partition // that have a goroutine
	}
}

// A place names a partition.
type place struct {
	topic     string
	partition int32
}

func (p place) asMap() map[string][]int32 { return map[string][]int32{p.topic: {p.partition}} }

// New makes an Adapter over a guard, or over Options.Guards where guard is nil. Its error names every problem of the options.
func New(guard dedup.Guard, o Options) (*Adapter, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if (guard == nil) != (o.Guards != nil) {
		return nil, errors.New("kafka: bad options: there has to be a guard or Guards, and not both")
	}
	if guard == nil {
		guard = byPartition{}
	}
	a := &Adapter{o: o}
	a.placement.logger = o.Logger
	a.mu.partitions = map[place]*partition{}
	co := o.Consume
	co.Scope.Application, co.Logger, co.Key = o.Application, o.Logger, nil
	if a.c, err = consume.New(guard, co); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return a, nil
}

// Consumer returns what decides, for its counters.
func (a *Adapter) Consumer() *consume.Consumer { return a.c }

// Misplaced returns how many records did not lie in the partition that Kafka's own
// partitioner gives their key for deduplication.
func (a *Adapter) Misplaced() uint64 { return a.placement.misplaced.Load() }

// Close ends in good order; see consume.Consumer.Close. Let Run return first.
func (a *Adapter) Close(ctx context.Context) error { return a.c.Close(ctx) }

// message is what the consumer decides about. A key that can't be made counts as none.
func (a *Adapter) message(r *kgo.Record) consume.Message {
	key := r.Key
	if a.o.Key != nil {
		var err error
		if key, err = a.o.Key(r); err != nil {
			a.o.Logger.Debug("kafka: a record without a key for deduplication", "topic", r.Topic, "partition", r.Partition,
				"offset", r.Offset, "error", err)
			key = nil
		}
	}
	return consume.Message{Key: key, Topic: r.Topic, Value: r}
}
