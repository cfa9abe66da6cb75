package adaptertest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A ledger is what one process tells of its handlers: a line for each event,
// appended by one write, so that it outlives kill -9.
//
//	effect KEY   the handler's effect has happened
//	commit KEY   the guard's Commit of the key has returned
//	lost KEY     the guard's Commit of the key has found its lease lost
type ledger struct{ f *os.File }

func openLedger(path string) (ledger, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return ledger{}, fmt.Errorf("adaptertest: opening the ledger: %w", err)
	}
	return ledger{f}, nil
}

func (l ledger) note(event, key string) error {
	if _, err := l.f.WriteString(event + " " + key + "\n"); err != nil {
		return fmt.Errorf("adaptertest: writing the ledger: %w", err)
	}
	return nil
}

// A tally is what ledgers say of one key.
type tally struct {
	effects int
	// excused are effects in processes that were killed before they had told of
	// the commit: the handler had run, and the message has to come again.
	excused int
	// left are effects in processes that ended well without having committed them.
	left int
}

// readLedger adds the ledger of one process to tallies.
func readLedger(path string, killed bool, tallies map[string]*tally) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("adaptertest: %w", err)
	}
	open, lost := map[string]int{}, map[string]bool{} // effects without a commit yet, and those without a lease
	for line := range strings.Lines(string(text)) {
		event, key, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !ok {
			return fmt.Errorf("adaptertest: a line of the ledger %s is %q", filepath.Base(path), line)
		}
		t := tallies[key]
		if t == nil {
			t = new(tally)
			tallies[key] = t
		}
		switch event {
		case "effect":
			t.effects++
			open[key]++
		case "commit":
			open[key] = 0
		case "lost":
			lost[key] = true
		}
	}
	for key, n := range open {
		switch {
		case killed:
			tallies[key].excused += n
		case !lost[key]:
			tallies[key].left += n
		}
	}
	return nil
}

// judge returns what is wrong: keys without an effect, effects too many that no kill
// excuses, and effects that nobody committed though no kill came between.
func judge(tallies map[string]*tally, keys []string) (missing, twice, left []string) {
	for _, key := range keys {
		t := tallies[key]
		switch {
		case t == nil || t.effects == 0:
			missing = append(missing, key)
		case t.effects > 1+t.excused:
			twice = append(twice, key)
		case t.left > 0:
			left = append(left, key)
		}
	}
	return missing, twice, left
}
