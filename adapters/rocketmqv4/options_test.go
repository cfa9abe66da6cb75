package rocketmqv4_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/firstseen/firstseen/adapters/rocketmqv4"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
)

// newGuard is an engine with the window and the lease that this package recommends.
func newGuard(t *testing.T) dedup.Guard {
	t.Helper()
	e, err := engine.Open(t.TempDir(), engine.Options{Window: rocketmqv4.Window, Lease: rocketmqv4.Lease, MinFreeDisk: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// TestApplicationsApart: the application's name is part of the key.
func TestApplicationsApart(t *testing.T) {
	g := newGuard(t)
	for _, name := range []string{"billing", "shipping"} {
		w := newWorker(t, g, func(o *rocketmqv4.Options) { o.Application = name })
		w.want(consumer.ConsumeSuccess, 1, order("T", "k"))
		w.want(consumer.ConsumeSuccess, 1, order("T", "k"))
	}
}

// TestTags: keys are unique within a tag, unless tags are to be ignored.
func TestTags(t *testing.T) {
	w := newWorker(t, newGuard(t))
	w.want(consumer.ConsumeSuccess, 2, order("T1", "k"), order("T2", "k"))
	w = newWorker(t, newGuard(t), func(o *rocketmqv4.Options) { o.IgnoreTag = true })
	w.want(consumer.ConsumeSuccess, 1, order("T1", "k"), order("T2", "k"))
}

// TestKeyOrder: the user's function, the business key, the producer's id, the id of
// the first delivery: the first one that is there.
func TestKeyOrder(t *testing.T) {
	ids := func(key, unique, origin string) *primitive.MessageExt {
		m := order("T", key)
		m.OffsetMsgId = "place"
		m.Body = []byte(key + unique + origin)
		if unique != "" {
			m.WithProperty(primitive.PropertyUniqueClientMessageIdKeyIndex, unique)
		}
		if origin != "" {
			m.WithProperty(primitive.PropertyOriginMessageId, origin)
		}
		return m
	}
	var mine string
	w := newWorker(t, newGuard(t), func(o *rocketmqv4.Options) {
		o.Key = func(*primitive.MessageExt) ([]byte, error) { return []byte(mine), nil }
	})
	for i, m := range []*primitive.MessageExt{ids("key", "unique", "origin"), ids("", "unique", "origin"), ids("", "", "origin"), ids("", "", "")} {
		w.want(consumer.ConsumeSuccess, int32(i+1), m)
		w.want(consumer.ConsumeSuccess, int32(i+1), m)
	}
	w.want(consumer.ConsumeSuccess, 4, ids("key", "other", "other"), ids("", "unique", "other"), ids("", "", "origin"))
	mine = "mine"
	w.want(consumer.ConsumeSuccess, 5, ids("key", "unique", "origin"), ids("other", "other", ""))
}

// TestWeakIDs: ids of the Go producer are counted where a message has nothing better.
func TestWeakIDs(t *testing.T) {
	w := newWorker(t, newGuard(t))
	const weak = "7F0000012A3B000000001A2B3C4D0001"
	for _, key := range []string{"", "key"} {
		m := order("T", key)
		m.WithProperty(primitive.PropertyUniqueClientMessageIdKeyIndex, weak)
		w.gets(m)
	}
	if n := w.a.WeakIDs(); n != 1 {
		t.Errorf("%d counted, want 1", n)
	}
}

// TestOff: every message is handled, and nobody is asked.
func TestOff(t *testing.T) {
	g := newGuard(t)
	w := newWorker(t, g, func(o *rocketmqv4.Options) { o.Consume.Off = true })
	w.want(consumer.ConsumeSuccess, 2, order("T", "k"), order("T", "k"))
	w.does(func() error { return errors.New("fails") })
	w.want(consumer.ConsumeRetryLater, 3, order("T", "k"))
	newWorker(t, g).want(consumer.ConsumeSuccess, 1, order("T", "k"))
}

// TestBatchStands: of a batch one of whose messages fails all come again, and those
// that were handled are duplicates then. A panic is a failure.
func TestBatchStands(t *testing.T) {
	w := newWorker(t, newGuard(t))
	fail := true
	w.does(func() error {
		if w.runs.Load() == 2 && fail {
			fail = false
			panic("a handler of the test panics")
		}
		return nil
	})
	batch := []*primitive.MessageExt{order("T", "a"), order("T", "b"), order("T", "c")}
	w.want(consumer.ConsumeRetryLater, 3, batch...)
	w.want(consumer.ConsumeSuccess, 4, batch...)
}

// TestDefaults: what the listener's defaults are here.
func TestDefaults(t *testing.T) {
	if rocketmqv4.Lease != time.Minute || rocketmqv4.Window != 7*24*time.Hour {
		t.Errorf("lease %v, window %v", rocketmqv4.Lease, rocketmqv4.Window)
	}
	_, err := rocketmqv4.New(newGuard(t), rocketmqv4.Options{MaxReconsumeTimes: -1, Suspend: -1})
	for _, name := range []string{"Application", "MaxReconsumeTimes", "Suspend"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("the error %v doesn't name %s", err, name)
		}
	}
}
