package partitioned

import (
	"errors"
	"strings"
	"testing"
)

// TestRefused: what the client keeps to itself has a cause all the same, and one that has
// been told is not told again.
func TestRefused(t *testing.T) {
	var s session
	s.taken.Store(true)
	s.OnGroupManageError(errors.New("not authorized"))
	if err := s.refused(); !errors.Is(err, errTaken) {
		t.Errorf("partitions went: %v", err)
	}
	s.OnGroupManageError(errors.New("not authorized"))
	if err := s.refused(); !strings.Contains(err.Error(), "not authorized") {
		t.Errorf("the membership failed: %v", err)
	}
	if err := s.refused(); !strings.Contains(err.Error(), "did not take the offsets") {
		t.Errorf("nothing is known: %v", err)
	}
}
