package nats

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/firstseen/firstseen/adapters/internal/beat"
)

// progress tells the server that messages are worked on, so that it does not deliver
// them to somebody else, until stop is called.
func (a *Adapter) progress(msgs ...jetstream.Msg) (stop func()) {
	return beat.Every(a.patience()/3, func() {
		for _, m := range msgs {
			_ = m.InProgress() // the next one is as good, and the last word reports errors
		}
	})
}

// patience is how long the server waits for a word: BackOff takes AckWait's place
// where there is one.
func (a *Adapter) patience() time.Duration {
	least := a.o.Consumer.AckWait
	for _, d := range a.o.Consumer.BackOff {
		least = min(least, d)
	}
	return max(least, time.Millisecond)
}
