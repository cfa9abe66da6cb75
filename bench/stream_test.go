package bench

import (
	"fmt"
	"testing"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash/hashtest"
)

// model is the plain answer: the clock at which each key was marked last.
type model map[string]uint64

// TestStreamIsExact runs streams against a plain map with the promise's two
// bounds: a key younger than the window must be expected as a duplicate, one
// older than window and longest span as fresh, and nothing in between is sent.
func TestStreamIsExact(t *testing.T) {
	const messages, window = 200_000, 40_000
	for _, named := range workloads {
		for _, callers := range []int{1, 3} {
			w, win := named.w, uint64(window)
			if w.Spread == Zipf {
				win = messages
			}
			t.Run(fmt.Sprintf("%s/callers=%d", named.name, callers), func(t *testing.T) {
				k, m := new(clock), model{}
				streams := make([]*stream, callers)
				for id := range streams {
					streams[id] = newStream(w, 7, id, callers, win, messages/uint64(callers), k)
				}
				var fresh, duplicates, again int
				for turn := 0; k.messages.Load() < messages; turn++ {
					s := streams[turn%callers]
					s.fill(100)
					now := k.messages.Load()
					for i, key := range s.keys {
						at, known := m[string(key)]
						switch {
						case s.want[i] == dedup.Duplicate:
							duplicates++
							if !known || now-at >= win {
								t.Fatalf("message %d: a duplicate is expected of a key marked %v, %d messages ago", now, known, now-at)
							}
						case known:
							again++
							if now-at < win+win/2 {
								t.Fatalf("message %d: a key marked %d messages ago is expected to be fresh", now, now-at)
							}
							fallthrough
						default:
							fresh++
							m[string(key)] = now
						}
					}
					k.messages.Add(uint64(len(s.keys)))
				}
				checkShares(t, w, fresh, duplicates, again)
			})
		}
	}
}

func checkShares(t *testing.T, w Workload, fresh, duplicates, again int) {
	t.Helper()
	share := float64(duplicates) / float64(fresh+duplicates)
	want := w.Duplicates
	switch w.Spread {
	case Zipf:
		if share < 0.5 {
			t.Errorf("share of duplicates is %.3f, Zipf should repeat most", share)
		}
		return
	case Expired:
		want = 0.1 * (1 - w.Duplicates)
		if again < 5_000 {
			t.Errorf("only %d forgotten keys came again", again)
		}
	}
	if share < want*0.9-0.001 || share > want*1.1+0.001 {
		t.Errorf("share of duplicates is %.4f, want %.4f", share, want)
	}
}

func TestStreamIsSeeded(t *testing.T) {
	draw := func(seed uint64) string {
		s := newStream(Workload{Duplicates: 0.5, Spread: Uniform, Kind: UUID}, seed, 0, 1, 1000, 1000, new(clock))
		s.fill(200)
		return fmt.Sprintf("%q", s.keys)
	}
	if draw(1) != draw(1) {
		t.Error("the same seed gave different messages")
	}
	if draw(1) == draw(2) {
		t.Error("different seeds gave the same messages")
	}
}

func TestKeys(t *testing.T) {
	lengths := map[KeyKind][2]int{Raw16: {16, 16}, UUID: {36, 36}, Raw36: {36, 36}, Variable: {variableMin, variableMax}, Hostile: {hashtest.FourLen, hashtest.FourLen}}
	for kind, bounds := range lengths {
		m := keyMaker{kind: kind, seed: 5}
		seen := make(map[string]bool)
		least, most := 1<<30, 0
		for i := range uint64(100_000) {
			key := m.appendKey(nil, i)
			least, most = min(least, len(key)), max(most, len(key))
			if seen[string(key)] {
				t.Fatalf("%s: key of index %d came before", kind, i)
			}
			seen[string(key)] = true
		}
		if [2]int{least, most} != bounds {
			t.Errorf("%s: lengths from %d to %d, want %v", kind, least, most, bounds)
		}
	}
	text := string(keyMaker{kind: UUID, seed: 5}.appendKey(nil, 1))
	if text[14] != '4' || (text[19] != '8' && text[19] != '9' && text[19] != 'a' && text[19] != 'b') {
		t.Errorf("%s is no UUID of version 4", text)
	}
}

func TestParseWorkload(t *testing.T) {
	for _, name := range WorkloadNames() {
		w, err := ParseWorkload(name)
		if err != nil || w.String() != name {
			t.Errorf("%s: got %q, %v", name, w, err)
		}
	}
	w, err := ParseWorkload("dup=0.25,spread=near,kind=uuid")
	if err != nil || w != (Workload{Duplicates: 0.25, Spread: Near, Kind: UUID}) {
		t.Errorf("got %+v, %v", w, err)
	}
	if again, err := ParseWorkload(w.String()); err != nil || again != w {
		t.Errorf("%q reads as %+v, %v", w, again, err)
	}
	for _, bad := range []string{"", "nothing", "dup=x", "dup=1", "dup=-1", "spread=far", "kind=int", "dup=NaN"} {
		if _, err := ParseWorkload(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func BenchmarkStream(b *testing.B) {
	for _, named := range workloads {
		b.Run("workload="+named.name, func(b *testing.B) {
			k := new(clock)
			s := newStream(named.w, 1, 0, 1, 20_000_000, 20_000_000, k)
			for b.Loop() {
				s.fill(1000)
				k.messages.Add(1000)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/key")
		})
	}
}
