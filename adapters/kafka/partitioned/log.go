package partitioned

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/adapters/kafka/marks"
)

// A LogRecord is one of the log of marks: the keys that a transaction marked in a
// partition.
type LogRecord struct {
	Partition int32
	Offset    int64
	At        time.Time // of the marks
	Keys      [][]byte  // valid until the visitor returns
	Bytes     int
}

// ReadLog visits the committed records of a log of marks, one partition after the
// other, as far as they had come when it was called. With a time that is not zero it
// begins with records as new as that. An error of the visitor ends it, and is
// returned. What is no record of marks gives an error that wraps marks.ErrRecord.
func ReadLog(ctx context.Context, client []kgo.Opt, topic string, since time.Time, visit func(LogRecord) error) error {
	cl, err := kgo.NewClient(client...)
	if err != nil {
		return fmt.Errorf("partitioned: client: %w", err)
	}
	defer cl.Close()
	spans, err := spansOf(ctx, kadm.NewClient(cl), topic, since)
	if err != nil {
		return err
	}
	var keys [][]byte
	for _, s := range spans {
		err := s.read(ctx, client, func(r *kgo.Record) error {
			if r.Attrs.IsControl() {
				return nil
			}
			at, got, err := marks.Decode(keys[:0], r.Value)
			if err != nil {
				return fmt.Errorf("partition %d of %q, offset %d: %w", r.Partition, topic, r.Offset, err)
			}
			keys = got
			return visit(LogRecord{Partition: r.Partition, Offset: r.Offset, At: at, Keys: got, Bytes: len(r.Value)})
		})
		if err != nil {
			return fmt.Errorf("partitioned: the log of marks: %w", err)
		}
	}
	return nil
}

// spansOf returns what is committed of each partition of a topic, in their order.
func spansOf(ctx context.Context, adm *kadm.Client, topic string, since time.Time) ([]span, error) {
	begin := func() (kadm.ListedOffsets, error) { return adm.ListStartOffsets(ctx, topic) }
	if !since.IsZero() {
		begin = func() (kadm.ListedOffsets, error) { return adm.ListOffsetsAfterMilli(ctx, since.UnixMilli(), topic) }
	}
	starts, err := begin()
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("partitioned: where topic %q begins: %w", topic, err)
	}
	ends, err := adm.ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("partitioned: where topic %q ends: %w", topic, err)
	}
	var spans []span
	starts.Each(func(o kadm.ListedOffset) {
		if end, ok := ends.Lookup(topic, o.Partition); ok {
			spans = append(spans, span{topic, o.Partition, o.Offset, end.Offset})
		}
	})
	slices.SortFunc(spans, func(a, b span) int { return int(a.id) - int(b.id) })
	return spans, nil
}
