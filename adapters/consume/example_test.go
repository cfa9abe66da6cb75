package consume_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
)

// openGuard opens an engine in a directory of its own. Any dedup.Guard does.
func openGuard() (g *engine.Engine, done func()) {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	e, err := engine.Open(dir, engine.Options{Window: time.Hour, MaxResult: 1000, MinFreeDisk: -1})
	if err != nil {
		log.Fatal(err)
	}
	return e, func() { e.Close(); os.RemoveAll(dir) }
}

func Example() {
	guard, done := openGuard()
	defer done()
	c, err := consume.New(guard, consume.Options{Scope: consume.Scope{Application: "billing"}})
	if err != nil {
		log.Fatal(err)
	}
	handler := func(_ context.Context, m consume.Message) error {
		fmt.Println("charging for", m.Value)
		return nil
	}
	for _, id := range []string{"order-1", "order-2", "order-1"} {
		d := c.Handle(context.Background(), consume.Message{Key: []byte(id), Topic: "orders", Value: id}, handler)
		switch d.Action {
		case consume.Ack:
			fmt.Println("acknowledge:", d.Reason)
		case consume.Retry:
			fmt.Println("deliver again in", d.Delay)
		case consume.Reject:
			fmt.Println("dead letter:", d.Err)
		}
	}
	if err := c.Close(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// charging for order-1
	// acknowledge: handled
	// charging for order-2
	// acknowledge: handled
	// acknowledge: duplicate
}

func ExampleConsumer_HandleBatch() {
	guard, done := openGuard()
	defer done()
	c, err := consume.New(guard, consume.Options{})
	if err != nil {
		log.Fatal(err)
	}
	msgs := []consume.Message{{Key: []byte("a")}, {Key: []byte("bad")}, {Key: []byte("a")}, {Key: []byte("bad")}}
	ds := c.HandleBatch(context.Background(), msgs, func(_ context.Context, m consume.Message) error {
		if string(m.Key) == "bad" {
			return errors.New("try again")
		}
		return nil
	})
	for i, d := range ds {
		fmt.Printf("%s: %v, %v\n", msgs[i].Key, d.Action, d.Reason)
	}
	// Output:
	// a: ack, handled
	// bad: retry, failed
	// a: ack, duplicate
	// bad: retry, twin-failed
}

func ExampleWorkFrom() {
	guard, done := openGuard()
	defer done()
	c, err := consume.New(guard, consume.Options{
		OnDuplicate: func(_ context.Context, _ consume.Message, claim dedup.Claim) {
			fmt.Printf("the answer was %s\n", claim.Result)
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	handler := func(ctx context.Context, _ consume.Message) error {
		// In a store's transaction: CommitTx(ctx, tx, w.Claim()), then w.SetCommitted().
		w := consume.WorkFrom(ctx)
		w.SetResult([]byte("receipt 7"))
		return nil
	}
	for range 2 {
		c.Handle(context.Background(), consume.Message{Key: []byte("payment-1")}, handler)
	}
	// Output: the answer was receipt 7
}

func ExampleConsumer_Snapshot() {
	guard, done := openGuard()
	defer done()
	c, err := consume.New(guard, consume.Options{Join: consume.PlainKey})
	if err != nil {
		log.Fatal(err)
	}
	for range 3 {
		c.Handle(context.Background(), consume.Message{Key: []byte("k"), Topic: "orders"}, func(context.Context, consume.Message) error { return nil })
	}
	for _, n := range c.Snapshot() {
		scope, _ := json.Marshal(n.Scope)
		fmt.Printf("%s: %d fresh, %d duplicates, %d acknowledged\n", scope, n.Fresh, n.Duplicate, n.Acked)
	}
	// Output: {"topic":"orders"}: 1 fresh, 2 duplicates, 3 acknowledged
}

func ExampleErrReject() {
	guard, done := openGuard()
	defer done()
	c, err := consume.New(guard, consume.Options{})
	if err != nil {
		log.Fatal(err)
	}
	d := c.Handle(context.Background(), consume.Message{Key: []byte("k")}, func(context.Context, consume.Message) error {
		return fmt.Errorf("%w: not JSON", consume.ErrReject)
	})
	fmt.Println(d.Action, d.Err)
	// Output: reject consume: message refused by its handler: not JSON
}

func ExampleJoinedKey() {
	a := consume.JoinedKey(nil, consume.Scope{Topic: "t"}, []byte("T1:42"))
	b := consume.JoinedKey(nil, consume.Scope{Topic: "t", Tag: "T1"}, []byte("42"))
	fmt.Println(string(a) == string(b))
	fmt.Printf("%s\n", consume.PlainKey(nil, consume.Scope{Topic: "t"}, []byte("42")))
	// Output:
	// false
	// 42
}
