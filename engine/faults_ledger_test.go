package engine

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"
)

// keyRange is a range of key numbers and when it was acknowledged: marked and
// answered by the engine's clock, answered by the wall.
type keyRange struct {
	from, n       uint64
	at, end, wall int64
}

// span is a piece of the wall's time.
type span struct{ begin, end int64 }

// ledger is what the parent knows: every key that was tried and every key that
// was acknowledged.
type ledger struct {
	p     *faultPart
	tried uint64 // all key numbers below
	acked []keyRange
	now   int64 // newest engine time that a child told
	keys  uint64
	from  string         // how the first line begins that counts; "": any does
	first func()         // called once, at that line
	in    map[string]int // phases that the child is in
	syncs []span         // of the journal, by the wall; end 0: never came to an end
	where string         // behind the names of figures
}

// read takes down what a child says until its end.
func (l *ledger) read(r io.Reader) {
	l.in, l.syncs = map[string]int{}, nil
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		line, ok := strings.CutPrefix(s.Text(), "#")
		if !ok {
			continue
		}
		if l.first != nil && strings.HasPrefix(line, l.from) {
			l.first()
			l.first = nil
		}
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "t", "a":
			var k keyRange
			if n, _ := fmt.Sscan(rest, &k.from, &k.n, &k.at, &k.end, &k.wall); n < 3 || !strings.HasSuffix(rest, ".") {
				continue // cut off by the kill
			}
			l.now = max(l.now, k.at)
			l.tried = max(l.tried, k.from+k.n)
			if word == "a" {
				l.acked = append(l.acked, k)
				l.keys += k.n
			}
		case "s":
			var s span
			if n, _ := fmt.Sscan(rest, &s.begin, &s.end); n != 2 || !strings.HasSuffix(rest, ".") {
				continue
			}
			if s.end == 0 {
				l.syncs = append(l.syncs, s)
			} else if last := len(l.syncs) - 1; l.syncs[last].begin == s.begin {
				l.syncs[last].end = s.end // one at a time
			}
		case "b":
			l.in[rest]++
		case "d":
			l.in[rest]--
		case "p":
			l.p.count(rest+l.where, 1)
		case "bad":
			l.p.errorf("%s", rest)
		case "e":
			l.p.errorf("a child failed: %s", rest)
		}
	}
}

// alive are the acknowledged ranges that are younger than the window at now.
func (l *ledger) alive(now int64, window time.Duration) (alive []keyRange) {
	for _, k := range l.acked {
		if now-k.at < int64(window) {
			alive = append(alive, k)
		}
	}
	return alive
}

func (l *ledger) stdin(alive []keyRange) string {
	var b strings.Builder
	for _, k := range alive {
		fmt.Fprintf(&b, "%d %d %d\n", k.from, k.n, k.at)
	}
	return b.String()
}

// overdue is in how many intervals at most keys were acknowledged, up to the cut,
// after the next sync was due and before it began. A machine that is too busy for
// the sync is so for the calls too, so that no time need be measured.
func (l *ledger) overdue(interval time.Duration, cut int64) (most int) {
	for i, s := range l.syncs {
		if s.end == 0 || s.end > cut {
			continue
		}
		due, begun := max(s.begin+int64(interval), s.end), cut
		if i+1 < len(l.syncs) {
			begun = min(cut, l.syncs[i+1].begin)
		}
		in := map[int64]bool{}
		for _, k := range l.acked {
			if k.wall > due && k.wall < begun {
				in[(k.wall-due)/int64(interval)] = true
			}
		}
		most = max(most, len(in))
	}
	return most
}
