package bench

import (
	"testing"
	"testing/synctest"
)

// TestClockWaitsForTheSlowest: while goroutine 0 is in a round, goroutine 1
// gets ahead by the bound and one round, and no further.
func TestClockWaitsForTheSlowest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock(2, 100)
		c.begin(0)
		go func() {
			for range 10 {
				c.begin(1)
				c.end(1, 60)
			}
		}()
		synctest.Wait()
		if got := c.messages.Load(); got != 120 {
			t.Errorf("the other goroutine got ahead by %d messages, want 120", got)
		}
		c.end(0, 5)
		synctest.Wait()
		if got := c.messages.Load(); got != 605 {
			t.Errorf("at the end %d messages, want 605", got)
		}
	})
}
