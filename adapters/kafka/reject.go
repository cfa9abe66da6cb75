package kafka

import (
	"context"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/adapters/consume"
)

// Headers of dead letters.
const (
	HeaderTopic     = "firstseen-topic"
	HeaderPartition = "firstseen-partition"
	HeaderOffset    = "firstseen-offset"
	HeaderReason    = "firstseen-reason"
	HeaderError     = "firstseen-error"
)

// refused puts a refused record where such records go, and reports whether it is
// there.
func (a *Adapter) refused(ctx context.Context, cl *kgo.Client, r *kgo.Record, d consume.Decision) bool {
	log := a.o.Logger.With("topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "reason", d.Reason.String())
	var err error
	switch {
	case a.o.OnReject != nil:
		err = a.o.OnReject(ctx, r, d.Err)
	case a.o.DeadLetters != "":
		err = cl.ProduceSync(ctx, deadLetter(a.o.DeadLetters, r, d)).FirstErr()
	default:
		log.Error("kafka: a refused record is passed over", "error", d.Err)
	}
	if err != nil {
		log.Error("kafka: a refused record could not be put away and is handled again", "error", err)
	}
	return err == nil
}

func deadLetter(topic string, r *kgo.Record, d consume.Decision) *kgo.Record {
	out := &kgo.Record{Topic: topic, Key: r.Key, Value: r.Value, Headers: append([]kgo.RecordHeader(nil), r.Headers...)}
	header := func(key, value string) {
		out.Headers = append(out.Headers, kgo.RecordHeader{Key: key, Value: []byte(value)})
	}
	header(HeaderTopic, r.Topic)
	header(HeaderPartition, strconv.Itoa(int(r.Partition)))
	header(HeaderOffset, strconv.FormatInt(r.Offset, 10))
	header(HeaderReason, d.Reason.String())
	if d.Err != nil {
		header(HeaderError, d.Err.Error())
	}
	return out
}
