package main

import (
	"testing"
	"time"

	"github.com/firstseen/firstseen/examples/internal/exampletest"
)

// TestRun is what the README says to do.
func TestRun(t *testing.T) {
	exampletest.Run(t, 4*time.Minute, "/usr/lib/postgresql", "/usr/lib/rabbitmq")
}
