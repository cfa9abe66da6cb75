package engine

import "testing"

// TestFaultsZReport comes last, after the model test too, as its file does: Go runs
// tests in the order of their files.
func TestFaultsZReport(t *testing.T) {
	if err := faultFigures.print(); err != nil {
		t.Fatal(err)
	}
}
