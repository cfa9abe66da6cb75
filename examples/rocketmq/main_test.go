package main

import (
	"strings"
	"testing"
	"time"

	"github.com/firstseen/firstseen/examples/internal/exampletest"
)

// TestRun is what the README says to do.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("!!! SKIPPED with -short: make servers runs it on a real broker")
	}
	printed := exampletest.Run(t, 9*time.Minute, "java", "mariadbd")
	if n := strings.Count(printed, "came again: dropped"); n != 10 {
		t.Errorf("it tells of %d duplicates, want 10", n)
	}
}
