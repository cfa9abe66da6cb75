package engine

import "testing"

// TestFaultsZReport comes last of the suite, as its file does: Go runs tests in
// the order of their files.
func TestFaultsZReport(t *testing.T) {
	if err := faultFigures.print(); err != nil {
		t.Fatal(err)
	}
}
