package watermill_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	wm "github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/adapters/watermill"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/testguards"
)

func TestNewNamesEveryProblem(t *testing.T) {
	_, err := watermill.New(nil, watermill.Options{Wait: -1, Pause: -1})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"Application", "Wait", "Pause"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
}

func adapter(t *testing.T, g dedup.Guard, o watermill.Options) *watermill.Adapter {
	t.Helper()
	o.Application, o.Pause = "test", time.Millisecond
	a, err := watermill.New(g, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// route runs a router over channels until the test ends.
func route(t *testing.T, build func(r *message.Router, channels *gochannel.GoChannel)) *gochannel.GoChannel {
	t.Helper()
	channels := gochannel.NewGoChannel(gochannel.Config{Persistent: true}, wm.NopLogger{})
	r, err := message.NewRouter(message.RouterConfig{}, wm.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	build(r, channels)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(context.Background()) }() // ends with Close
	t.Cleanup(func() {
		if err := errors.Join(r.Close(), <-ended); err != nil {
			t.Error(err)
		}
	})
	<-r.Running()
	return channels
}

func publish(t *testing.T, p message.Publisher, topic string, uuids ...string) {
	t.Helper()
	for _, uuid := range uuids {
		if err := p.Publish(topic, message.NewMessage(uuid, []byte(uuid))); err != nil {
			t.Fatal(err)
		}
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for giveUp := time.Now().Add(time.Minute); !ok(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(giveUp) {
			t.Fatalf("waited a minute in vain for %s", what)
		}
	}
}

// acked sums the messages that were acknowledged in all scopes.
func acked(a *watermill.Adapter) (n uint64) {
	for _, c := range a.Consumer().Snapshot() {
		n += c.Acked
	}
	return n
}

// TestEachHandlerHasEachMessage: two handlers of one topic don't take each other's
// messages for duplicates.
func TestEachHandlerHasEachMessage(t *testing.T) {
	a := adapter(t, testguards.Engine(t), watermill.Options{})
	var mails, invoices atomic.Int64
	channels := route(t, func(r *message.Router, channels *gochannel.GoChannel) {
		r.AddMiddleware(a.Middleware)
		r.AddConsumerHandler("mails", "orders", channels, func(*message.Message) error { mails.Add(1); return nil })
		r.AddConsumerHandler("invoices", "orders", channels, func(*message.Message) error { invoices.Add(1); return nil })
	})
	publish(t, channels, "orders", "1", "2", "1")
	until(t, "six acknowledgements", func() bool { return acked(a) == 6 })
	if m, i := mails.Load(), invoices.Load(); m != 2 || i != 2 {
		t.Errorf("%d mails and %d invoices of 2 orders", m, i)
	}
}

// A flaky publisher fails the first time.
type flaky struct {
	message.Publisher
	failed atomic.Bool
}

func (f *flaky) Publish(topic string, ms ...*message.Message) error {
	if f.failed.CompareAndSwap(false, true) {
		return errors.New("not this time")
	}
	return f.Publisher.Publish(topic, ms...)
}

// TestPublishedBeforeTheMark: what a handler produced is not lost where publishing
// fails.
func TestPublishedBeforeTheMark(t *testing.T) {
	p := new(flaky)
	a := adapter(t, testguards.Engine(t), watermill.Options{Publisher: p})
	channels := route(t, func(r *message.Router, channels *gochannel.GoChannel) {
		p.Publisher = channels
		r.AddHandler("invoices", "orders", channels, "invoices", channels, func(m *message.Message) ([]*message.Message, error) {
			return message.Messages{message.NewMessage("of "+m.UUID, nil)}, nil
		}).AddMiddleware(a.Middleware)
	})
	publish(t, channels, "orders", "1", "1", "2")
	until(t, "three acknowledgements", func() bool { return acked(a) == 3 })
	invoices, err := channels.Subscribe(t.Context(), "invoices")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for range 2 {
		select {
		case m := <-invoices:
			got[m.UUID]++
			m.Ack()
		case <-time.After(time.Minute):
			t.Fatalf("waited a minute in vain for an invoice, published %v", got)
		}
	}
	if got["of 1"] != 1 || got["of 2"] != 1 {
		t.Errorf("published %v", got)
	}
}

// call calls a middleware once, outside a router.
func call(a *watermill.Adapter, uuid string, h message.NoPublishHandlerFunc) error {
	_, err := a.Middleware(func(m *message.Message) ([]*message.Message, error) { return nil, h(m) })(message.NewMessage(uuid, nil))
	return err
}

func TestNoPublisher(t *testing.T) {
	a := adapter(t, testguards.Engine(t), watermill.Options{})
	for range 2 { // it is not marked
		_, err := a.Middleware(message.PassthroughHandler)(message.NewMessage("1", nil))
		if !errors.Is(err, watermill.ErrNoPublisher) {
			t.Errorf("%v, want ErrNoPublisher", err)
		}
	}
}

// TestRefused: without OnReject the error is the router's to see, with it the message
// is done with when OnReject says so.
func TestRefused(t *testing.T) {
	refuse := func(*message.Message) error { return consume.ErrReject }
	if err := call(adapter(t, testguards.Engine(t), watermill.Options{}), "1", refuse); !errors.Is(err, consume.ErrReject) {
		t.Errorf("without OnReject: %v", err)
	}
	full := errors.New("full")
	answers := []error{full, nil}
	a := adapter(t, testguards.Engine(t), watermill.Options{OnReject: func(context.Context, *message.Message, error) error {
		answer := answers[0]
		answers = answers[1:]
		return answer
	}})
	if err := call(a, "1", refuse); !errors.Is(err, full) {
		t.Errorf("OnReject failed: %v", err)
	}
	if err := call(a, "1", refuse); err != nil {
		t.Errorf("OnReject took it: %v", err)
	}
}

// TestInFlight: a message waits for its twin in place, and is an error when that takes
// too long.
func TestInFlight(t *testing.T) {
	g := testguards.Engine(t)
	key := consume.JoinedKey(nil, consume.Scope{Application: "test"}, []byte("1"))
	held, err := g.Claim(t.Context(), key)
	if err != nil || held.Verdict != dedup.Fresh {
		t.Fatal(held.Verdict, err)
	}
	handled := 0
	h := func(*message.Message) error { handled++; return nil }
	if err := call(adapter(t, g, watermill.Options{Wait: 20 * time.Millisecond}), "1", h); !errors.Is(err, watermill.ErrNotHandled) {
		t.Errorf("still in flight: %v", err)
	}
	released := time.AfterFunc(50*time.Millisecond, func() { _ = g.Release(context.Background(), held) })
	defer released.Stop()
	if err := call(adapter(t, g, watermill.Options{}), "1", h); err != nil || handled != 1 {
		t.Errorf("released while it waits: %v, handled %d times", err, handled)
	}
}

// TestContext: the handler finds its Work in the message's context, which is the old
// one again afterwards.
func TestContext(t *testing.T) {
	m := message.NewMessage("1", nil)
	before := m.Context()
	a := adapter(t, testguards.Engine(t), watermill.Options{})
	_, err := a.Middleware(func(m *message.Message) ([]*message.Message, error) {
		if consume.WorkFrom(m.Context()) == nil {
			t.Error("no Work in the handler's context")
		}
		return nil, nil
	})(m)
	if err != nil || m.Context() != before {
		t.Errorf("%v, context %v", err, m.Context())
	}
}

// TestRepository: Watermill's own Deduplicator, with a memory that outlives it.
func TestRepository(t *testing.T) {
	dir := t.TempDir()
	for restarts := range 2 {
		g, closeGuard, err := testguards.OpenEngine(dir, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		d := &middleware.Deduplicator{
			KeyFactory: middleware.NewMessageHasherFromMetadataField("order"), Repository: watermill.NewRepository(g), Timeout: time.Minute,
		}
		handled := map[string]int{}
		h := d.Middleware(func(m *message.Message) ([]*message.Message, error) { handled[m.Metadata["order"]]++; return nil, nil })
		for _, order := range []string{"1", "2", "1"} {
			m := message.NewMessage(wm.NewUUID(), nil)
			m.Metadata["order"] = order
			if _, err := h(m); err != nil {
				t.Fatal(err)
			}
		}
		if want := 1 - restarts; handled["1"] != want || handled["2"] != want {
			t.Errorf("after %d restarts handled %v, want %d each", restarts, handled, want)
		}
		if err := closeGuard(); err != nil {
			t.Fatal(err)
		}
		if _, err := h(message.NewMessage("x", nil)); err == nil {
			t.Error("no error without a key")
		}
		if dup, err := watermill.NewRepository(g).IsDuplicate(t.Context(), "3"); dup || !errors.Is(err, dedup.ErrClosed) {
			t.Errorf("with a closed guard: %v, %v", dup, err)
		}
	}
}

// TestRepositoryInFlight: a key that somebody is about to mark is neither.
func TestRepositoryInFlight(t *testing.T) {
	g := testguards.Engine(t)
	if _, err := g.Claim(t.Context(), []byte("k")); err != nil {
		t.Fatal(err)
	}
	if dup, err := watermill.NewRepository(g).IsDuplicate(t.Context(), "k"); dup || err == nil {
		t.Errorf("%v, %v, want an error", dup, err)
	}
}
