package local

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	// shards are locked apart; more of them than cores that call at once.
	shards = 64
	// entryBytes is what an entry of a map takes beside its key's bytes: the key's
	// header and allocation, the two times, the map's spare room.
	entryBytes = 90
	// margin is taken off every entry: what is called Duplicate at its end is still
	// Duplicate when the caller acts on it, and the store's clock may run a little fast.
	margin = 10 * time.Millisecond
)

// A moment is one time by both clocks.
type moment struct {
	wall time.Time     // without a monotonic reading
	mono time.Duration // since the cache was made
}

// An ending is when an entry ends: whichever clock comes there first.
type ending struct {
	wall int64 // ns since 1970
	mono time.Duration
}

func (e ending) past(now moment) bool {
	return now.wall.UnixNano() >= e.wall || now.mono >= e.mono
}

// A cache remembers keys until their times, and no more of them than fit.
type cache struct {
	born  time.Time
	clock func() moment // for tests; nil: the real one
	seed  maphash.Seed
	used  uint64 // of parts: fewer than all for a handful of entries
	most  int    // entries in one of the two maps of a shard
	bytes int64  // and their bytes
	parts [shards]part
}

// A part is one shard.
type part struct {
	mu struct {
		sync.Mutex
		newer, older map[string]ending
		bytes        int64 // of newer
		olderBytes   int64
		hits, misses uint64
	}
	_ [64]byte // no two locks in one cache line
}

func (c *cache) init(entries int, bytes int64) {
	c.born, c.seed = time.Now(), maphash.MakeSeed()
	c.used = uint64(min(shards, max(1, entries/shards)))
	c.most = max(1, entries/int(c.used)/2)
	c.bytes = bytes / int64(c.used) / 2
	for i := range c.parts {
		c.parts[i].mu.newer = make(map[string]ending)
	}
}

func (c *cache) now() moment {
	if c.clock != nil {
		return c.clock()
	}
	now := time.Now()
	return moment{wall: now.Round(0), mono: now.Sub(c.born)}
}

func (c *cache) part(key []byte) *part { return &c.parts[maphash.Bytes(c.seed, key)%c.used] }

// get returns until when key is surely marked, if it is known to be.
func (c *cache) get(key []byte, now moment) (time.Time, bool) {
	p := c.part(key)
	p.mu.Lock()
	e, ok := p.mu.newer[string(key)]
	if !ok {
		e, ok = p.mu.older[string(key)]
	}
	if ok = ok && !e.past(now); ok {
		p.mu.hits++
	} else {
		p.mu.misses++
	}
	p.mu.Unlock()
	if !ok {
		return time.Time{}, false
	}
	return time.Unix(0, e.wall), true
}

// put remembers that key is marked for so long from now.
func (c *cache) put(key []byte, now moment, left time.Duration) {
	left -= margin
	cost := int64(len(key)) + entryBytes
	if left <= 0 || cost > c.bytes {
		return
	}
	p := c.part(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.mu.newer[string(key)]; !known {
		if len(p.mu.newer) >= c.most || p.mu.bytes+cost > c.bytes {
			p.mu.older, p.mu.newer = p.mu.newer, make(map[string]ending, len(p.mu.newer))
			p.mu.olderBytes, p.mu.bytes = p.mu.bytes, 0
		}
		p.mu.bytes += cost
	}
	p.mu.newer[string(key)] = ending{wall: now.wall.Add(left).UnixNano(), mono: now.mono + left}
}

// drop forgets a key.
func (c *cache) drop(key []byte) {
	p := c.part(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	cost := int64(len(key)) + entryBytes
	if _, ok := p.mu.newer[string(key)]; ok {
		delete(p.mu.newer, string(key))
		p.mu.bytes -= cost
	}
	if _, ok := p.mu.older[string(key)]; ok {
		delete(p.mu.older, string(key))
		p.mu.olderBytes -= cost
	}
}

func (c *cache) stats() Stats {
	var s Stats
	for i := range c.parts {
		p := &c.parts[i]
		p.mu.Lock()
		s.Hits += p.mu.hits
		s.Misses += p.mu.misses
		s.Entries += len(p.mu.newer) + len(p.mu.older)
		s.Bytes += p.mu.bytes + p.mu.olderBytes
		p.mu.Unlock()
	}
	return s
}
