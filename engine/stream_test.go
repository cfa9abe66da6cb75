package engine

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// A stream makes batches of keys whose right verdicts are known: new keys are
// counted up, duplicates are drawn from what came before within the window. It
// is the same at every run, so that a restarted process can go on with it.
type stream struct {
	share  float64 // of duplicates
	near   int     // how far back they reach in keys; 0: all of the window
	batch  int
	reach  int // batches that are surely within the window
	starts []uint64
	next   uint64
	rng    *rand.Rand

	keys  [][]byte
	isDup []bool
}

const streamBatch = 1000

// newStream has the clock go through three windows within n keys.
func newStream(n int, share float64, near int) (s *stream, perBatch time.Duration) {
	batches := n / streamBatch
	perBatch = 3 * streamWindow / time.Duration(batches)
	s = &stream{share: share, near: near, batch: streamBatch, reach: batches/3 - 1, rng: rand.New(rand.NewPCG(1, 11))}
	buf := make([]byte, 16*s.batch)
	for i := range s.batch {
		s.keys = append(s.keys, buf[16*i:16*i+16:16*i+16])
	}
	s.isDup = make([]bool, s.batch)
	return s, perBatch
}

const streamWindow = 24 * time.Hour

// fill makes the next batch.
func (s *stream) fill() {
	s.starts = append(s.starts, s.next)
	oldest := s.starts[max(0, len(s.starts)-1-s.reach)]
	if s.near > 0 && s.next > oldest+uint64(s.near) {
		oldest = s.next - uint64(s.near)
	}
	for i, key := range s.keys {
		id := s.next
		if s.isDup[i] = s.next > oldest && s.rng.Float64() < s.share; s.isDup[i] {
			id = oldest + s.rng.Uint64N(s.next-oldest) // also of this very batch
		} else {
			s.next++
		}
		x := (id ^ id>>30) * 0xbf58476d1ce4e5b9
		binary.LittleEndian.PutUint64(key, x^x>>27)
		binary.LittleEndian.PutUint64(key[8:], id)
	}
}

// judge counts keys that were called Fresh though they came before, and keys that
// were called Duplicate though they didn't. doubtful says that a process may have
// died after it had marked some of the batch.
func (s *stream) judge(vs []dedup.Verdict, doubtful bool) (missed, wrong int) {
	for i, v := range vs {
		switch {
		case v == dedup.Duplicate && s.isDup[i], v == dedup.Fresh && !s.isDup[i]:
		case s.isDup[i]:
			missed++
		case !doubtful || v != dedup.Duplicate:
			wrong++
		}
	}
	return missed, wrong
}

func streamKeys() int {
	switch {
	case long():
		return 20_000_000
	case raceEnabled:
		return 100_000
	}
	return 300_000
}

func streamOptions(clock *fakeClock, n int) config {
	o := config{Options: Options{Window: streamWindow, Capacity: uint64(n / 3), MinFreeDisk: -1, Now: clock.now, Sync: SyncInterval}}
	if !long() {
		o.Shards = 4 // few runs of some size rather than many small ones
	}
	return o
}

// TestStream: no duplicate is missed and nothing fresh is dropped, over three
// windows and more than twenty rotations.
func TestStream(t *testing.T) {
	n := streamKeys()
	for _, share := range []float64{0, 0.006, 0.1, 0.5} {
		for _, near := range []int{0, 10_000} {
			if share == 0 && near > 0 || raceEnabled && share < 0.5 {
				continue
			}
			t.Run(fmt.Sprintf("dup=%v/near=%v", share, near > 0), func(t *testing.T) {
				clock := newFakeClock()
				e := mustOpen(t, t.TempDir(), streamOptions(clock, n))
				s, perBatch := newStream(n, share, near)
				began := time.Now()
				runStream(t, e, s, clock, perBatch, n)
				stats := e.Stats()
				t.Logf("%.2f M keys/s with making and checking, %d rotations, %d flushes, %d retired",
					float64(n)/time.Since(began).Seconds()/1e6, stats.Flush.Rotations, stats.Flush.Flushes, stats.Flush.Retired)
				if stats.Flush.Rotations < 15 || stats.Flush.Retired < 7 || share > 0 && near == 0 && stats.Lookups.Confirmed == 0 {
					t.Errorf("%d rotations, %d retired generations, %d keys found in runs: the test shows little",
						stats.Flush.Rotations, stats.Flush.Retired, stats.Lookups.Confirmed)
				}
			})
		}
	}
}

// runStream admits n keys more.
func runStream(t *testing.T, e *Engine, s *stream, clock *fakeClock, perBatch time.Duration, n int) {
	t.Helper()
	var vs []dedup.Verdict
	missed, wrong := 0, 0
	for b := range n / s.batch {
		clock.advance(perBatch)
		s.fill()
		if b%25 == 24 && !long() {
			// The clock runs so fast here that a generation may be over before
			// its keys are in runs; the test is to see them there too.
			eventually(t, "the flush has caught up", func() bool { return e.set.Sizes().Sealed == 0 })
		}
		var err error
		if vs, err = e.AdmitBatch(ctx, vs[:0], s.keys); err != nil {
			t.Fatal(err)
		}
		m, w := s.judge(vs, false)
		missed, wrong = missed+m, wrong+w
	}
	if missed+wrong > 0 {
		t.Fatalf("%d duplicates missed, %d wrong ones", missed, wrong)
	}
}

// TestStreamRestarted closes and opens in the middle, and ends one engine as a
// kill does.
func TestStreamRestarted(t *testing.T) {
	n := streamKeys()
	for _, share := range []float64{0.006, 0.5} {
		if raceEnabled && share < 0.5 {
			continue
		}
		t.Run(fmt.Sprintf("dup=%v", share), func(t *testing.T) {
			clock, dir := newFakeClock(), t.TempDir()
			o := streamOptions(clock, n)
			s, perBatch := newStream(n, share, 0)
			for _, end := range []func(e *Engine){
				func(e *Engine) { mustClose(t, e) },
				func(e *Engine) { mustClose(t, e) },
				func(e *Engine) { e.crash(t) },
				func(e *Engine) { mustClose(t, e) },
			} {
				e := mustOpen(t, dir, o)
				runStream(t, e, s, clock, perBatch, n/4)
				end(e)
			}
		})
	}
}

const killEnv = "FIRSTSEEN_TEST_KILL"

// TestStreamKilled kills a process with SyncAlways in the middle, again and again:
// what it acknowledged over a pipe is remembered, and only the batch that it was
// in may be marked without having been answered.
func TestStreamKilled(t *testing.T) {
	n := streamKeys()
	if order := os.Getenv(killEnv); order != "" {
		dir, from, _ := strings.Cut(order, "|")
		killedChild(t, dir, from, n)
		return
	}
	dir := t.TempDir()
	acked := 0 // batches
	batches := n / streamBatch
	for kill := range 4 {
		until := batches * (kill + 1) / 4
		acked = runChild(t, dir, acked, until, until < batches)
		t.Logf("killed after %d of %d batches", acked, batches)
	}
	if acked != batches {
		t.Errorf("%d of %d batches were acknowledged", acked, batches)
	}
}

// runChild runs a child from batch from on, kills it once it has acknowledged
// until batches, and returns how many it has.
func runChild(t *testing.T, dir string, from, until int, kill bool) (acked int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestStreamKilled$", "-test.timeout=0")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%d", killEnv, dir, from))
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	acked = from
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		number, ok := strings.CutPrefix(lines.Text(), "acked ")
		if !ok {
			if text := lines.Text(); strings.Contains(text, "FAIL") || strings.Contains(text, "stream_test.go") {
				t.Errorf("the child says %q", text)
			}
			continue
		}
		if acked, err = strconv.Atoi(number); err != nil {
			t.Fatal(err)
		}
		if kill && acked >= until {
			_ = cmd.Process.Kill()
			kill = false // what it wrote before is still in the pipe
		}
	}
	_ = cmd.Wait()
	return acked
}

func killedChild(t *testing.T, dir, order string, n int) {
	from, err := strconv.Atoi(order)
	if err != nil {
		t.Fatal(err)
	}
	clock := newFakeClock()
	s, perBatch := newStream(n, 0.1, 0)
	// Batch b is marked at b batches after the beginning, in whichever life it comes.
	// The killed child may have marked the first batch, which it did not acknowledge:
	// a clock that begins earlier than that would put the engine's ahead of it by
	// one batch for each kill, and two of them take keys out of the window that this
	// test takes for young.
	clock.advance(time.Duration(from) * perBatch)
	for range from {
		s.fill()
	}
	o := streamOptions(clock, n)
	o.Sync = SyncAlways
	e := mustOpen(t, dir, o)
	var vs []dedup.Verdict
	if now := clock.now().UnixNano(); e.clock.read() != now {
		t.Fatalf("the engine's clock is %v ahead of the test's", time.Duration(e.clock.read()-now))
	}
	for b := from; b < n/s.batch; b++ {
		if b > from {
			clock.advance(perBatch)
		}
		s.fill()
		if vs, err = e.AdmitBatch(ctx, vs[:0], s.keys); err != nil {
			t.Fatal(err)
		}
		if missed, wrong := s.judge(vs, b == from); missed+wrong > 0 {
			t.Fatalf("batch %d: %d duplicates missed, %d wrong ones", b, missed, wrong)
		}
		fmt.Printf("acked %d\n", b+1)
	}
	mustClose(t, e)
}
