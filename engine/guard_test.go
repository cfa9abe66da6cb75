package engine

import (
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup/guardtest"
)

// TestGuard runs the suite that every guard has to pass, under a fake clock.
func TestGuard(t *testing.T) {
	const window = 8 * time.Hour
	guardtest.Run(t, guardtest.Config{
		New: func(t testing.TB, lease time.Duration) guardtest.Subject {
			clock := newFakeClock()
			o := testOptions(clock)
			o.Window, o.Lease, o.MaxResult = window, lease, guardResult
			return guardSubject(t, t.TempDir(), o, clock)
		},
		MaxResult: guardResult,
		Window:    window,
		Forgotten: window + window/4, // one generation's span more
	})
}

// TestGuardRealClock runs it on the clock that everybody has, and without results.
func TestGuardRealClock(t *testing.T) {
	guardtest.Run(t, guardtest.Config{
		New: func(t testing.TB, lease time.Duration) guardtest.Subject {
			o := testOptions(nil)
			o.Lease = lease
			return guardSubject(t, t.TempDir(), o, nil)
		},
	})
}

const guardResult = 1000 // bytes

func guardSubject(t testing.TB, dir string, o config, clock *fakeClock) guardtest.Subject {
	e := mustOpen(t, dir, o)
	s := guardtest.Subject{
		Guard: e,
		Reopen: func(t testing.TB) guardtest.Subject {
			mustClose(t, e)
			return guardSubject(t, dir, o, clock)
		},
		Down:     func(t testing.TB) { mustClose(t, e) },
		Contains: e.Contains,
		Forget:   e.Forget,
	}
	if clock != nil {
		s.Now, s.Advance = clock.now, clock.advance
	}
	return s
}
