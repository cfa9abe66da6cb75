// Command consumer shows the loop of a message consumer: claim, handle, commit,
// acknowledge. Its broker is a channel that delivers some messages twice, and
// once more what was not acknowledged.
//
//	go run ./examples/consumer
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
)

// consume handles every message once, whatever the broker delivers. It is the
// code of the README.
func consume(ctx context.Context, dir string, messages <-chan message, handle func(message) error) error {
	e, err := engine.Open(dir, engine.Options{Window: 24 * time.Hour})
	if err != nil {
		return err
	}
	defer e.Close()
	// A consumer that is told to stop still ends what it has begun: the handler's work is
	// done, and would be done again if its end were lost.
	ending := context.WithoutCancel(ctx)
	for m := range messages {
		claim, err := e.Claim(ctx, m.Key)
		switch {
		case err != nil || claim.Verdict == dedup.InFlight:
			m.Nack() // nothing is known, or somebody works on it: deliver it again
		case claim.Verdict == dedup.Duplicate:
			m.Ack() // it was handled before
		case handle(m) != nil:
			_ = e.Release(ending, claim) // the key is fresh again
			m.Nack()
		case e.Commit(ending, claim) != nil:
			m.Nack() // handled, but not remembered
		default:
			m.Ack()
		}
	}
	return nil
}

// message is what a broker's client gives.
type message struct {
	Key  []byte
	Body string
	done chan<- bool // acknowledged or not
}

func (m message) Ack()  { m.done <- true }
func (m message) Nack() { m.done <- false }

// deliver sends every body until it is acknowledged, and the first one twice.
func deliver(messages chan<- message, bodies ...string) {
	for _, body := range append(bodies, bodies[0]) {
		done := make(chan bool)
		for acknowledged := false; !acknowledged; acknowledged = <-done {
			messages <- message{Key: []byte(body), Body: body, done: done}
		}
	}
	close(messages)
}

func main() {
	dir, err := os.MkdirTemp("", "consumer-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	messages := make(chan message)
	go deliver(messages, "two apples", "a pear", "plums")
	tries := 0
	err = consume(context.Background(), dir, messages, func(m message) error {
		if tries++; tries == 2 {
			fmt.Fprintln(os.Stdout, "failed: ", m.Body)
			return errors.New("no pears")
		}
		fmt.Fprintln(os.Stdout, "handled:", m.Body)
		return nil
	})
	if err != nil {
		log.Print(err)
	}
}
