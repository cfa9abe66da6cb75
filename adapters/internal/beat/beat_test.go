package beat_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/firstseen/firstseen/adapters/internal/beat"
)

func TestEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		stop := beat.Every(time.Second, func() { n++ })
		<-time.After(3500 * time.Millisecond)
		stop()
		stop()
		<-time.After(time.Minute)
		if n != 3 {
			t.Errorf("%d beats in 3.5 intervals and a minute after the stop, want 3", n)
		}
	})
}

// TestStopWaits: stop does not return while a beat is under way.
func TestStopWaits(t *testing.T) {
	begun, release, done := make(chan struct{}), make(chan struct{}), false
	stop := beat.Every(time.Millisecond, func() {
		if !done {
			close(begun)
			<-release
			done = true
		}
	})
	<-begun
	stopped := make(chan bool)
	go func() { stop(); stopped <- done }() // ends with the beat
	select {
	case <-stopped:
		t.Fatal("stop returned during a beat")
	case <-time.After(20 * time.Millisecond): // a wrong stop's time to return
	}
	close(release)
	if !<-stopped {
		t.Error("stop returned before the beat was done")
	}
}
