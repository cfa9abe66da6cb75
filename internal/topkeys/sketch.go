package topkeys

import (
	"cmp"
	"container/heap"
	"slices"
)

// A Sketch counts keys. Its zero value is of no use, see New.
type Sketch struct {
	counters []counter // a heap, the smallest count first
	at       map[string]int
	size     int
}

type counter struct {
	key          string
	count, error uint64
}

// New returns a sketch of so many counters, at least one.
func New(counters int) *Sketch {
	return &Sketch{at: map[string]int{}, size: max(1, counters)}
}

// Add counts a key once.
func (s *Sketch) Add(key []byte) {
	if i, ok := s.at[string(key)]; ok {
		s.counters[i].count++
		heap.Fix((*byCount)(s), i)
		return
	}
	if len(s.counters) < s.size {
		heap.Push((*byCount)(s), counter{key: string(key), count: 1})
		return
	}
	least := &s.counters[0]
	delete(s.at, least.key)
	*least = counter{key: string(key), count: least.count + 1, error: least.count}
	s.at[least.key] = 0
	heap.Fix((*byCount)(s), 0)
}

// An Entry is a key and how often it was counted: Count, or up to Error less.
type Entry struct {
	Key          string
	Count, Error uint64
}

// Top returns up to n keys with the largest counts, the largest first and equal ones
// by key.
func (s *Sketch) Top(n int) []Entry {
	all := make([]Entry, len(s.counters))
	for i, c := range s.counters {
		all[i] = Entry{Key: c.key, Count: c.count, Error: c.error}
	}
	slices.SortFunc(all, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Key, b.Key))
	})
	return all[:min(max(n, 0), len(all))]
}

// byCount is a Sketch as a heap.
type byCount Sketch

func (b *byCount) Len() int           { return len(b.counters) }
func (b *byCount) Less(i, j int) bool { return b.counters[i].count < b.counters[j].count }

func (b *byCount) Swap(i, j int) {
	b.counters[i], b.counters[j] = b.counters[j], b.counters[i]
	b.at[b.counters[i].key], b.at[b.counters[j].key] = i, j
}

func (b *byCount) Push(x any) {
	c := x.(counter)
	b.at[c.key] = len(b.counters)
	b.counters = append(b.counters, c)
}

// Pop is part of the interface; counters are taken over, never given up.
func (b *byCount) Pop() any {
	last := b.counters[len(b.counters)-1]
	b.counters = b.counters[:len(b.counters)-1]
	delete(b.at, last.key)
	return last
}
