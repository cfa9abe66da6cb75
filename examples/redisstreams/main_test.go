package main

import (
	"testing"

	"github.com/firstseen/firstseen/examples/internal/exampletest"
)

// TestRun is what the README says to do.
func TestRun(t *testing.T) { exampletest.Run(t, "/usr/lib/postgresql", "/usr/bin/redis-server") }
