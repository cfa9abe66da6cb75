package rocketmqv4

import (
	"testing"
	"time"
)

func TestDelayLevel(t *testing.T) {
	f := func(d time.Duration, want int) {
		t.Helper()
		if got := delayLevel(d); got != want {
			t.Errorf("%v has level %d, want %d", d, got, want)
		}
	}
	f(-time.Second, 0)
	f(0, 0)
	f(time.Millisecond, 1)
	f(time.Second, 1)
	f(1001*time.Millisecond, 2)
	f(55*time.Second, 5)
	f(time.Minute, 5)
	f(61*time.Second, 6)
	f(2*time.Hour, 18)
	f(24*time.Hour, 18)
}
