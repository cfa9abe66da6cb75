package bench

import (
	"math"
	"math/bits"

	"github.com/firstseen/firstseen/dedup"
)

// A stream makes the messages of one goroutine and knows the right answer to
// each. It isn't safe for concurrent use.
//
// Fresh messages issue indices in rising order. Since the clock only rises too,
// two cursors over checkpoints of (index, clock) tell which issued keys are
// certainly still remembered and which are certainly forgotten; repeats are
// drawn from the first, Expired from the second. Keys in between are never sent,
// because a deduplicator may answer either way for one generation's span.
type stream struct {
	w       Workload
	maker   keyMaker
	rng     rng
	clock   *clock
	base    uint64 // added to every index, so that goroutines share no key
	next    uint64 // indices issued so far
	repeat  uint64 // a random number below it means "repeat"
	remind  uint64 // for Expired: below it, "repeat within the window" comes second
	sure    uint64 // clock distance within which a key is certainly remembered
	gone    uint64 // clock distance from which it is certainly forgotten
	step    uint64 // indices between two checkpoints
	points  []checkpoint
	oldest  int    // points[oldest].index is the first index that is surely remembered
	dropped int    // points[dropped].index is above every index that is surely forgotten
	reissue uint64 // next forgotten index to be sent again

	population uint64 // for Zipf
	seen       []uint64

	arena   []byte
	keys    [][]byte
	want    []dedup.Verdict
	indices []uint64

	// unmarked are the indices that an approximate target wrongly called
	// duplicates and so has not marked; nil for exact targets.
	unmarked map[uint64]struct{}
}

// A checkpoint says that every index below was answered at or before the
// clock's at, and that index and all above were or will be answered after it.
type checkpoint struct {
	index uint64
	at    uint64
}

// newStream makes the stream of goroutine id of callers. window is in messages
// of all goroutines, share is the number of messages this one will send.
func newStream(w Workload, seed uint64, id, callers int, window, share uint64, c *clock) *stream {
	s := &stream{
		w:     w,
		maker: keyMaker{kind: w.Kind, seed: mix(seed)},
		rng:   rng(mix(seed + uint64(id) + 1)),
		clock: c,
		base:  uint64(id) << 48,
	}
	s.repeat = threshold(w.Duplicates)
	s.remind = threshold(0.1)
	slack := margin(window, callers)
	s.sure = window - slack
	s.gone = window + window/2 + slack // the longest span of a generation is half a window
	s.step = max(1, min(4096, window/1024/uint64(callers)))
	if w.Spread == Zipf {
		s.population = max(1, share)
		s.seen = make([]uint64, s.population/64+1)
	}
	return s
}

// margin is how far the clock may move between the choice of a key and its
// answer, in messages: with several goroutines a preempted one sees it move by
// as many as the others answer meanwhile (see clock.begin).
func margin(window uint64, callers int) uint64 {
	if callers == 1 {
		return window / 20
	}
	return max(window/10, min(window/4, 1_000_000))
}

// threshold turns a probability into a bound for a random uint64.
func threshold(p float64) uint64 {
	if p >= 1 {
		return math.MaxUint64
	}
	return uint64(p * (1 << 63) * 2)
}

// fill replaces keys and want by the next n messages.
func (s *stream) fill(n int) {
	if cap(s.keys) < n {
		s.keys = make([][]byte, 0, n)
		s.want = make([]dedup.Verdict, 0, n)
		s.indices = make([]uint64, 0, n)
		s.arena = make([]byte, 0, n*maxKeyLen)
	}
	s.keys, s.want, s.indices, s.arena = s.keys[:0], s.want[:0], s.indices[:0], s.arena[:0]
	s.advance()
	for range n {
		index, want := s.choose()
		start := len(s.arena)
		s.arena = s.maker.appendKey(s.arena, s.base+index)
		s.keys = append(s.keys, s.arena[start:len(s.arena):len(s.arena)])
		s.want = append(s.want, want)
		s.indices = append(s.indices, index)
	}
}

// advance moves the cursors to the clock's present time.
func (s *stream) advance() {
	now := s.clock.messages.Load()
	if k := len(s.points); k == 0 || s.next-s.points[k-1].index >= s.step {
		s.points = append(s.points, checkpoint{s.next, now})
	}
	for s.oldest < len(s.points)-1 && s.points[s.oldest].at+s.sure < now {
		s.oldest++
	}
	for s.dropped < len(s.points)-1 && s.points[s.dropped+1].at+s.gone <= now {
		s.dropped++
	}
}

// choose picks the next index and says what the right answer to it is.
func (s *stream) choose() (uint64, dedup.Verdict) {
	switch {
	case s.w.Spread == Zipf:
		return s.chooseZipf()
	case s.repeat == 0:
		return s.issue(), dedup.Fresh
	case s.rng.next() >= s.repeat:
		if s.w.Spread == Expired && s.rng.next() < s.remind {
			return s.chooseRemembered()
		}
		return s.issue(), dedup.Fresh
	case s.w.Spread == Expired:
		if s.dropped < len(s.points) && s.reissue < s.points[s.dropped].index {
			s.reissue++
			return s.reissue - 1, dedup.Fresh
		}
		return s.issue(), dedup.Fresh
	}
	return s.chooseRemembered()
}

func (s *stream) issue() uint64 {
	s.next++
	return s.next - 1
}

// chooseRemembered repeats an index of the window, which may stand earlier in
// the same call.
func (s *stream) chooseRemembered() (uint64, dedup.Verdict) {
	low := s.points[s.oldest].index
	if s.w.Spread == Near && s.next-low > NearKeys {
		low = s.next - NearKeys
	}
	if low >= s.next {
		return s.issue(), dedup.Fresh
	}
	return low + s.rng.below(s.next-low), dedup.Duplicate
}

// chooseZipf inverts the continuous 1/r distribution over the population, which
// needs no table: rank = population^u.
func (s *stream) chooseZipf() (uint64, dedup.Verdict) {
	u := float64(s.rng.next()>>11) / (1 << 53)
	rank := min(uint64(math.Exp(u*math.Log(float64(s.population+1))))-1, s.population-1)
	word, bit := rank/64, uint64(1)<<(rank%64)
	if s.seen[word]&bit != 0 {
		return rank, dedup.Duplicate
	}
	s.seen[word] |= bit
	s.next++
	return rank, dedup.Fresh
}

// remembered returns up to n keys that were marked and must still be known,
// spread over the whole window.
func (s *stream) remembered(n int) [][]byte {
	s.advance()
	var picks []uint64
	if s.w.Spread == Zipf {
		for word, set := range s.seen {
			for ; set != 0 && len(picks) < n; set &= set - 1 {
				picks = append(picks, uint64(word*64+bits.TrailingZeros64(set)))
			}
		}
	} else if low := s.points[s.oldest].index; low < s.next {
		count := s.next - low
		for i := range min(uint64(n), count) {
			picks = append(picks, low+i*count/min(uint64(n), count))
		}
	}
	keys := make([][]byte, 0, len(picks))
	for _, index := range picks {
		if _, unmarked := s.unmarked[index]; !unmarked {
			keys = append(keys, s.maker.appendKey(nil, s.base+index))
		}
	}
	return keys
}
