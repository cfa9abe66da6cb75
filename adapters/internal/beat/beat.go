// Package beat calls a function at regular intervals while messages are worked on,
// so that their broker delivers them to nobody else.
package beat

import (
	"sync"
	"time"
)

// Every calls f at intervals until stop is called. stop returns when f runs no more:
// a word about progress after the last word about a message would take that back.
// Any goroutine may call stop, and more than once.
func Every(interval time.Duration, f func()) (stop func()) {
	b := &beat{every: interval, f: f}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.timer = time.AfterFunc(interval, b.beat) // ends with stop
	return b.stop
}

type beat struct {
	every time.Duration
	f     func()

	mu struct {
		sync.Mutex // held while f runs
		timer      *time.Timer
		over       bool
	}
}

func (b *beat) beat() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.over {
		return
	}
	b.f()
	b.mu.timer.Reset(b.every)
}

func (b *beat) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.over = true
	b.mu.timer.Stop()
}
