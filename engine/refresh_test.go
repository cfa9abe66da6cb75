package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// TestRefresh: with Refresh a key that comes again is remembered for the window from
// then on, over flushes and kills, marked once per generation; without it, from its mark.
func TestRefresh(t *testing.T) {
	const generations, keys = 4, 300
	for _, mode := range []Mode{Exact, Approximate} {
		for _, how := range []string{"admit", "admit one", "claim"} {
			for _, refresh := range []bool{true, false} {
				t.Run(fmt.Sprintf("%v/%s/%v", mode, how, refresh), func(t *testing.T) {
					clock := newFakeClock()
					o := config{Options: Options{
						Window:      time.Hour,
						Capacity:    2000,
						Generations: generations,
						Shards:      2,
						Mode:        mode,
						MinFreeDisk: -1,
						Now:         clock.now,
						Refresh:     refresh,
					}, hooks: hooks{
						tableKeys: 60,
						ringBytes: 256 << 10,
					}}
					r := refreshing{t: t, how: how, dir: t.TempDir(), opts: o}
					r.open()
					r.want(dedup.Fresh, keys)
					marks := uint64(0)
					for round := range 6 {
						clock.advance(o.Window * 2 / 3)
						switch round % 3 {
						case 1:
							r.e.set.Seal(^uint64(0))
						case 2:
							marks += r.e.Stats().Verdicts.Refreshed
							r.e.crash(t)
							r.open()
						}
						if !refresh && round > 0 { // 40 minutes and 80: still held, and out of the window
							break
						}
						r.want(dedup.Duplicate, keys)
						r.want(dedup.Duplicate, keys) // once per generation
					}
					marks += r.e.Stats().Verdicts.Refreshed
					if refresh && (marks == 0 || marks > 6*keys) || !refresh && marks > 0 {
						t.Fatalf("%d keys were marked anew in 6 rounds", marks)
					}
					clock.advance(2 * o.Window)
					r.want(dedup.Fresh, keys)
					if err := r.e.Close(); err != nil {
						t.Fatal(err)
					}
				})
			}
		}
	}
}

type refreshing struct {
	t    *testing.T
	how  string
	dir  string
	opts config
	e    *Engine
}

func (r *refreshing) open() {
	r.t.Helper()
	var err error
	if r.e, err = openWith(r.dir, r.opts); err != nil {
		r.t.Fatal(err)
	}
}

// want brings the keys once more.
func (r *refreshing) want(v dedup.Verdict, n int) {
	r.t.Helper()
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "key %0*d", 2+i%40, i)
	}
	got := make([]dedup.Verdict, 0, n)
	var err error
	switch r.how {
	case "admit":
		got, err = r.e.AdmitBatch(r.t.Context(), got, keys)
	case "admit one":
		for _, key := range keys {
			var one dedup.Verdict
			if one, err = r.e.Admit(r.t.Context(), key); err != nil {
				break
			}
			got = append(got, one)
		}
	case "claim":
		var cs []dedup.Claim
		if cs, err = r.e.ClaimBatch(r.t.Context(), nil, keys); err == nil {
			err = r.e.Commit(r.t.Context(), cs...)
		}
		for _, c := range cs {
			got = append(got, c.Verdict)
		}
	}
	if err != nil {
		r.t.Fatal(err)
	}
	wrong := 0
	for _, one := range got {
		if one != v {
			wrong++
		}
	}
	// In Approximate mode new keys may be taken for duplicates, few of them.
	if len(got) != n || wrong > 0 && (r.opts.Mode == Exact || v == dedup.Duplicate || wrong > n/10) {
		r.t.Fatalf("%d of %d keys are not %v", wrong, n, v)
	}
}
