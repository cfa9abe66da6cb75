package nats

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A progress tells the server that messages are worked on, so that it does not
// deliver them to somebody else, until it is stopped.
type progress struct {
	every time.Duration
	msgs  []jetstream.Msg

	mu    sync.Mutex
	timer *time.Timer
	over  bool
}

func (a *Adapter) progress(msgs ...jetstream.Msg) *progress {
	p := &progress{every: a.patience() / 3, msgs: msgs}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(p.every, p.tell)
	return p
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

func (p *progress) tell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	for _, m := range p.msgs {
		_ = m.InProgress() // the next one is as good, and the last word reports errors
	}
	p.timer.Reset(p.every)
}

// stop returns when nothing more is told: a word about progress after the last
// one would take back its delay.
func (p *progress) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	p.timer.Stop()
}
