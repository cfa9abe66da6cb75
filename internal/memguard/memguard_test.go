package memguard_test

import (
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup/guardtest"
	"github.com/firstseen/firstseen/internal/memguard"
)

// TestGuard: tests that stand on this guard stand on the contract.
func TestGuard(t *testing.T) {
	guardtest.Run(t, guardtest.Config{
		New: func(_ testing.TB, lease time.Duration) guardtest.Subject {
			g := &memguard.Guard{Lease: lease, MaxResult: 1000}
			return guardtest.Subject{Guard: g, Contains: g.Contains, Forget: g.Forget}
		},
		MaxResult: 1000,
	})
}

// TestGuardWithoutResults: a result that is given is too large.
func TestGuardWithoutResults(t *testing.T) {
	guardtest.Run(t, guardtest.Config{
		New: func(_ testing.TB, lease time.Duration) guardtest.Subject {
			return guardtest.Subject{Guard: &memguard.Guard{Lease: lease, MaxResult: -1}}
		},
	})
}
