package rocketmqv4_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/adapters/rocketmqv4"
)

// The holes of keys.

// TestHole06KeysFoldedAndCut: keys that a collation takes for one, and those longer
// than Java's columns, are keys of their own.
func TestHole06KeysFoldedAndCut(t *testing.T) {
	eachStore(t, func(b *bed) {
		w := newWorker(b.T, b.guard(time.Minute), func(o *rocketmqv4.Options) { // KEYS has no spaces
			o.Key = func(m *primitive.MessageExt) ([]byte, error) { return m.Body, nil }
		})
		long := strings.Repeat("x", 300)
		var n int32
		for _, key := range []string{"abc", "ABC", "abc ", "abc\x00", "àbc", "ábc", long, long + "1", long + "2"} {
			for _, tag := range []string{"T", long} {
				m := order(tag, "")
				m.Body = []byte(key)
				n++
				w.want(consumer.ConsumeSuccess, n, m)
				w.want(consumer.ConsumeSuccess, n, m)
			}
		}
	})
}

// TestHole07EmptyKey: messages without a key are handled, all of them, or refused,
// and never share one.
func TestHole07EmptyKey(t *testing.T) {
	eachStore(t, func(b *bed) {
		first, second := order("T", ""), order("T", "")
		first.OffsetMsgId, second.OffsetMsgId = "", ""
		w := newWorker(b.T, b.guard(time.Minute), func(o *rocketmqv4.Options) {
			o.Key = func(*primitive.MessageExt) ([]byte, error) { return []byte{}, nil }
		})
		w.want(consumer.ConsumeSuccess, 1, first)
		w.want(consumer.ConsumeSuccess, 2, second)
		w.does(func() error { return errors.New("fails") })
		w.want(consumer.ConsumeRetryLater, 3, first)

		strict := newWorker(b.T, b.guard(time.Minute), func(o *rocketmqv4.Options) { o.Consume.NoKey = consume.RefuseNoKey })
		if result, level := strict.gets(first); result != consumer.ConsumeRetryLater || level != -1 || strict.runs.Load() != 0 {
			b.Errorf("a message without a key is %v with level %d, want the dead letters", result, level)
		}
		strict.want(consumer.ConsumeSuccess, 1, order("T", "k"))
	})
}

// TestHole08JoinedParts: a tag can't be taken for the beginning of a key.
func TestHole08JoinedParts(t *testing.T) {
	eachStore(t, func(b *bed) {
		w := newWorker(b.T, b.guard(time.Minute))
		w.want(consumer.ConsumeSuccess, 1, order("", "T1:42"))
		w.want(consumer.ConsumeSuccess, 2, order("T1", "42"))
		w.want(consumer.ConsumeSuccess, 3, order("T1:4", "2"))
		w.want(consumer.ConsumeSuccess, 3, order("", "T1:42"), order("T1", "42"))
	})
}

// TestHole10ChangingID: a message that has nothing but the id of its place in the log
// gets another one each time it is sent back, and is the same message all the same.
func TestHole10ChangingID(t *testing.T) {
	eachStore(t, func(b *bed) {
		w := newWorker(b.T, b.guard(time.Minute))
		first := order("T", "")
		first.MsgId, first.OffsetMsgId = "place-1", "place-1"
		w.want(consumer.ConsumeSuccess, 1, first)
		for _, place := range []string{"place-2", "place-3"} {
			back := order("T", "")
			back.MsgId, back.OffsetMsgId, back.ReconsumeTimes = place, place, 1
			back.WithProperty(primitive.PropertyOriginMessageId, "place-1")
			w.want(consumer.ConsumeSuccess, 1, back)
		}
		// With the producer's id the place doesn't count at all.
		for i, place := range []string{"place-4", "place-5"} {
			m := order("T", "")
			m.MsgId, m.OffsetMsgId = "unique", place
			m.WithProperty(primitive.PropertyUniqueClientMessageIdKeyIndex, "unique")
			w.want(consumer.ConsumeSuccess, 2, m)
			if i > 0 {
				m.ReconsumeTimes = 1
				m.WithProperty(primitive.PropertyOriginMessageId, "place-4")
				w.want(consumer.ConsumeSuccess, 2, m)
			}
		}
	})
}

// TestHole11Broadcasting: one instance's success keeps no other instance from its
// own, also after a restart.
func TestHole11Broadcasting(t *testing.T) {
	eachStore(t, func(b *bed) {
		for _, instance := range []string{"a", "b"} {
			for restart := range 2 {
				w := newWorker(b.T, b.guard(time.Minute), func(o *rocketmqv4.Options) { o.Instance = instance })
				w.want(consumer.ConsumeSuccess, int32(1-restart), order("T", "k"))
			}
		}
	})
}
