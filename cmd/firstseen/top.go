package main

import (
	"fmt"
	"io"

	"github.com/dustin/go-humanize"

	"github.com/firstseen/firstseen/internal/record"
	"github.com/firstseen/firstseen/internal/topkeys"
)

// topCounters is how many counters --top has at least. While fewer different keys
// repeat, all counts are exact.
const topCounters = 10_000

// A repeats counts how often records were duplicates, by their key.
type repeats struct {
	*topkeys.Sketch
	n   int
	key record.Key
}

// newRepeats counts for the n most repeated keys.
func newRepeats(n int, key record.Key) *repeats {
	return &repeats{Sketch: topkeys.New(max(topCounters, 100*n)), n: n, key: key}
}

// A repeated is one of the most repeated keys.
type repeated struct {
	Key   string `json:"key"`
	Count uint64 `json:"count"` // duplicates, or up to Error fewer
	Error uint64 `json:"error"`
}

func (r *repeats) top() []repeated {
	var top []repeated
	for _, e := range r.Top(r.n) {
		top = append(top, repeated{r.key.Show([]byte(e.Key)), e.Count, e.Error})
	}
	return top
}

// table writes them for people.
func (r *repeats) table(out io.Writer) error {
	top := r.top()
	if len(top) == 0 {
		_, err := fmt.Fprintln(out, "no key was repeated")
		return err
	}
	const row = "%15s  %19s  %s\n"
	_, err := fmt.Fprintf(out, row, "REPEATS", "TOO MANY BY AT MOST", "KEY")
	for _, e := range top {
		if err == nil {
			_, err = fmt.Fprintf(out, row, humanize.Comma(int64(e.Count)), humanize.Comma(int64(e.Error)), quoted(e.Key))
		}
	}
	return err
}

// quoted is a key on a line of its own: as it is, or in quotes where it holds what a
// terminal would take for more than text.
func quoted(key string) string {
	for _, r := range key {
		if r != '\t' && (r < ' ' || r == 0x7f || r == '\ufffd') {
			return fmt.Sprintf("%q", key)
		}
	}
	if key == "" {
		return `""`
	}
	return key
}
