package partitioned

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/engine"
)

// Options of a Node. Dir, Input, Output, Group, Client and Engine.Window are required.
type Options struct {
	// Dir is where the directories of the partitions lie. It is this Node's alone.
	Dir string
	// Input and Output are topics; Output has at least as many partitions as Input.
	Input, Output string
	// Marks is the topic of the log of marks; it is made where there is none. By
	// default the name of Input and "-marks". It belongs to one Group.
	Marks string
	// Group is the consumer group.
	Group string
	// TransactionalID is different for each Node. By default the group and a random
	// text: then a killed process's transaction blocks its partitions until
	// kgo.TransactionTimeout has passed (40 s unless Client says otherwise); with an
	// id that is the same after a restart, until the restart.
	TransactionalID string
	// Client says how brokers are reached: seeds, TLS, SASL, timeouts.
	Client []kgo.Opt
	// Duplicates is a topic that duplicates are copied to, with at least as many
	// partitions as Input. By default they are dropped.
	Duplicates string
	// Observe makes outputs of duplicates, too: they are counted, marked and copied to
	// Duplicates, but nothing is kept from Output.
	Observe bool
	// AnyPartition says that producers don't partition by the key on purpose: no record
	// is counted as misplaced.
	AnyPartition bool
	// Engine configures the memory. Capacity and MemoryBudget are for the whole
	// topic; they are divided by the number of its partitions. MemoryBudget is by default a
	// quarter of what the process may have. NotBefore is set by this package.
	Engine engine.Options
	// Key makes a record's key; nil: the record's own key. A record whose key is
	// empty, or can't be made, is copied without deduplication.
	Key func(r *kgo.Record) ([]byte, error)
	// Handle makes the outputs of a fresh record; their topic is Output and their
	// partition the record's, whatever they say. By default the output is the record:
	// key, value, headers and timestamp. After an error the transaction is aborted
	// and its records come again, after a second.
	Handle func(ctx context.Context, r *kgo.Record) ([]*kgo.Record, error)
	// Batch is the most records of one transaction. Default 10,000.
	Batch int
	// OnGap is told when marks within the window are missing from the log, or lie in the
	// log of another partition since partitions were added to the input, so that
	// duplicates of them pass. It is logged in any case.
	OnGap func(partition int32, why string)
	// Logger gets what an operator should know. Default: slog.Default().
	Logger *slog.Logger
}

func (o Options) withDefaults(copies bool) (Options, error) {
	var problems []error
	for name, v := range map[string]string{"Dir": o.Dir, "Input": o.Input, "Output": o.Output, "Group": o.Group} {
		if v == "" && (copies || name != "Output") {
			problems = append(problems, fmt.Errorf("%s is empty", name))
		}
	}
	if o.Engine.Window <= 0 {
		problems = append(problems, fmt.Errorf("Engine.Window is %v, it must be positive", o.Engine.Window))
	}
	if o.Engine.Mode != engine.Exact {
		problems = append(problems, errors.New("Engine.Mode is not Exact: fresh records would be dropped"))
	}
	if o.Batch < 0 {
		problems = append(problems, fmt.Errorf("Batch is %d, it must be positive", o.Batch))
	}
	if o.Batch == 0 {
		o.Batch = 10_000
	}
	if o.Marks == "" {
		o.Marks = o.Input + "-marks"
	}
	if o.TransactionalID == "" {
		o.TransactionalID = o.Group + "-" + rand.Text()
	}
	if o.Handle == nil {
		o.Handle = func(_ context.Context, r *kgo.Record) ([]*kgo.Record, error) { return []*kgo.Record{copied(r)}, nil }
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if len(problems) > 0 {
		return o, fmt.Errorf("partitioned: bad options: %w", errors.Join(problems...))
	}
	return o, nil
}

func copied(r *kgo.Record) *kgo.Record {
	return &kgo.Record{Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: r.Timestamp}
}

// reach is how far back the log has to be read: the window and the longest span of a
// generation.
func (o Options) reach() time.Duration { return o.Engine.Window + o.Engine.Window/2 }
