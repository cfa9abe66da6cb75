package partitioned

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A span is a piece of a topic's partition, from an offset on and up to another.
type span struct {
	topic     string
	id        int32
	from, end int64
}

// read visits the committed records of a span in their order, control records
// included: an abort leaves one behind what it aborted, so the end is always passed
// by a record that is seen. The keys and values belong to the visitor.
func (s span) read(ctx context.Context, client []kgo.Opt, visit func(r *kgo.Record) error) error {
	if s.from >= s.end {
		return nil
	}
	opts := append(append([]kgo.Opt{}, client...), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.topic: {s.id: kgo.NewOffset().At(s.from)}}))
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	defer cl.Close()
	for next := s.from; next < s.end; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("reading partition %d of %q at offset %d: %w", s.id, s.topic, next, err)
		}
		for _, r := range fetches.Records() {
			if next = r.Offset + 1; r.Offset >= s.end {
				break
			}
			if err := visit(r); err != nil {
				return err
			}
		}
	}
	return nil
}
