package partitioned

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// A position says how much of the log of marks a directory holds durably. It may be
// behind, never ahead.
type position struct {
	Topic     string `json:"topic"`
	TopicID   string `json:"topic_id"`   // a topic that was made anew has other offsets
	Offset    int64  `json:"offset"`     // everything below it is in the directory
	NotBefore uint64 `json:"not_before"` // engine.Options.NotBefore of a directory that holds it
	// Partitions is how many the input had when it was last compared; 0: it never was.
	Partitions int `json:"partitions,omitempty"`
}

// readPosition returns what the file says, and false if it says nothing usable.
func readPosition(path string) (p position, ok bool) {
	text, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(text, &p) != nil {
		return position{}, false
	}
	return p, true
}

// write replaces the file. It need not be durable: an older one is right as well.
func (p position) write(path string) error {
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("partitioned: position: %w", err)
	}
	next := path + ".next"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return fmt.Errorf("partitioned: position: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("partitioned: position: %w", err)
	}
	return nil
}

func (n *Node) directory(id int32) string {
	return filepath.Join(n.o.Dir, fmt.Sprintf("%s-%d", n.o.Input, id))
}
