package sqltest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"time"
)

// Kinds of events.
const (
	gotKey   = iota // a claim was fresh
	asksMark        // a commit begins
	madeMark        // a commit has succeeded
	released        // a release begins
	sawMark         // a claim was a duplicate
)

// An event is something that a client saw, between two times.
type event struct {
	kind     uint8
	key      uint32
	from, to time.Time
	expires  time.Time // of gotKey
}

const eventSize = 1 + 4 + 3*8

// An eventLog is a file of events.
type eventLog struct {
	mu  sync.Mutex
	f   *os.File
	w   *bufio.Writer
	err error
}

func newEventLog(path string) (*eventLog, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &eventLog{f: f, w: bufio.NewWriterSize(f, 1<<16)}, nil
}

func (l *eventLog) add(e event) {
	b := make([]byte, 0, eventSize)
	b = append(b, e.kind)
	b = binary.LittleEndian.AppendUint32(b, e.key)
	for _, t := range []time.Time{e.from, e.to, e.expires} {
		b = binary.LittleEndian.AppendUint64(b, uint64(t.UnixNano()))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.w.Write(b)
	l.err = errors.Join(l.err, err)
}

func (l *eventLog) close() error { return errors.Join(l.err, l.w.Flush(), l.f.Close()) }

type span struct{ from, to, expires int64 }

type keyHistory struct {
	got                 []span  // fresh claims
	released            []int64 // begins of releases
	firstAsk, firstMark int64   // of commits; 0: none
	saw                 []span  // duplicates
}

// A history is what all clients saw. All run on one machine, so their times can
// be compared.
type history struct {
	keys   []keyHistory
	events int
}

func (h *history) read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	var b [eventSize]byte
	for {
		if _, err := io.ReadFull(r, b[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		h.events++
		at := func(i int) int64 { return int64(binary.LittleEndian.Uint64(b[5+8*i:])) }
		k := &h.keys[binary.LittleEndian.Uint32(b[1:])]
		s := span{at(0), at(1), at(2)}
		switch b[0] {
		case gotKey:
			k.got = append(k.got, s)
		case asksMark:
			k.firstAsk = earlier(k.firstAsk, s.from)
		case madeMark:
			k.firstMark = earlier(k.firstMark, s.to)
		case released:
			k.released = append(k.released, s.from)
		case sawMark:
			k.saw = append(k.saw, s)
		}
	}
}

func earlier(a, b int64) int64 {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// check demands of every key:
//   - it was marked: a commit succeeded, or a claim found it marked;
//   - no claim that was made after a successful commit is fresh;
//   - no claim is a duplicate before a commit began;
//   - no two clients hold it at the same time, from the answer until the lease
//     ends or a release begins.
func (h *history) check(t *testing.T) {
	t.Helper()
	var missed, untrue, unmarked, overlaps, fresh, duplicates int
	for i := range h.keys {
		k := &h.keys[i]
		fresh += len(k.got)
		duplicates += len(k.saw)
		if k.firstMark == 0 && len(k.saw) == 0 {
			unmarked++
		}
		for _, s := range k.saw {
			if k.firstAsk == 0 || s.to < k.firstAsk {
				untrue++
			}
		}
		for n, g := range k.got {
			if k.firstMark != 0 && g.from > k.firstMark {
				missed++
			}
			for _, other := range k.got[n+1:] {
				if k.overlap(g, other) {
					t.Logf("key %d: held by one from %d to %d, by another from %d to %d; releases %v, first commit from %d to %d", i,
						g.from, g.expires, other.from, other.expires, k.released, k.firstAsk, k.firstMark)
					overlaps++
				}
			}
		}
	}
	t.Logf("%d keys, %d events: %d fresh, %d duplicates; missed %d, untrue %d, unmarked %d, two owners %d",
		len(h.keys), h.events, fresh, duplicates, missed, untrue, unmarked, overlaps)
	if missed+untrue+unmarked+overlaps > 0 {
		t.Errorf("of %d keys: missed %d, untrue %d, unmarked %d, two owners %d", len(h.keys), missed, untrue, unmarked, overlaps)
	}
	if fresh < len(h.keys) || duplicates < len(h.keys)/5 {
		t.Errorf("%d keys gave %d fresh and %d duplicate answers: that was no stress", len(h.keys), fresh, duplicates)
	}
}

// overlap says whether two fresh claims were held at the same time.
func (k *keyHistory) overlap(a, b span) bool {
	if b.to < a.to {
		a, b = b, a
	}
	if b.to >= min(a.expires, b.expires) {
		return false // an answer may come so late that its lease is over
	}
	for _, r := range k.released {
		if r >= a.from && r <= b.to {
			return false
		}
	}
	return true
}

func stressKey(n uint32) []byte {
	// Keys of a stream are spread over the index.
	return binary.BigEndian.AppendUint64([]byte("order-"), uint64(n)*0x9e3779b97f4a7c15)
}
