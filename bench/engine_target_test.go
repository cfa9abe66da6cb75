package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/firstseen/firstseen/engine"
)

// TestEngineIsExact: small runs over several rotations, closed and opened
// again; the long ones are dedupbench's. The usual engine gets every workload,
// its variants the three that differ most, and hostile keys who is made for them.
func TestEngineIsExact(t *testing.T) {
	for _, c := range EngineCandidates() {
		for _, named := range workloads {
			variant := c.Name != "firstseen-interval"
			made := c.Name == "firstseen-untrusted" && named.w.Kind == Hostile
			if variant && !made && named.name != "segment" && named.name != "dup50" && named.name != "expired" {
				continue
			}
			t.Run(fmt.Sprintf("%s/%s", c.Name, named.name), func(t *testing.T) {
				checkEngine(t, Config{Candidate: c, Workload: named.w, Keys: 200_000, Window: 75_000, Batch: 250, Callers: 2, Reopen: true})
			})
		}
	}
}

func checkEngine(t *testing.T, config Config) {
	if config.Workload.Spread == Zipf {
		config.Window = config.Keys
	}
	r := mustRun(t, config)
	if r.Messages != config.Keys {
		t.Errorf("%d messages: %s", r.Messages, r.Error)
	}
	if config.Candidate.Approximate {
		// 1 % is what Sliced is sized for, when its slots are evenly filled.
		if r.Missed != 0 || r.WrongShare() > 0.02 {
			t.Errorf("missed %d, wrong %d of %d", r.Missed, r.Wrong, r.Fresh)
		}
	} else if r.Missed != 0 || r.Wrong != 0 || r.Unanswered != 0 {
		t.Errorf("missed %d, wrong %d, without an answer %d", r.Missed, r.Wrong, r.Unanswered)
	}
	if o := r.OpenClosed; o == nil || o.Missed > 0 || o.Problem != "" || o.Asked == 0 {
		t.Errorf("opened again: %+v", o)
	}
}

// TestEngineAnswersSingleKeys takes the way of one key a call.
func TestEngineAnswersSingleKeys(t *testing.T) {
	r := mustRun(t, Config{
		Candidate: EngineCandidates()[1], Keys: 20_000, Batch: 1, Callers: 4, Workload: Workload{Duplicates: 0.3, Kind: UUID},
	})
	if !r.Exact() || r.Messages != 20_000 || r.Disk == 0 {
		t.Errorf("%+v", r)
	}
}

// TestSettle: after it no key is on its way to a run.
func TestSettle(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	const keys = 200_000
	target, err := openEngine(Setup{Dir: t.TempDir(), Keys: keys, KeyBytes: 16, Window: time.Hour, Now: func() time.Time { return now }}, engine.Options{Sync: engine.SyncNone})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	admit := func(from, to int) {
		t.Helper()
		batch := make([][]byte, 0, to-from)
		for i := from; i < to; i++ {
			batch = append(batch, fmt.Appendf(nil, "%016d", i))
		}
		if _, err := target.Admit(t.Context(), nil, batch); err != nil {
			t.Fatal(err)
		}
	}
	admit(0, keys)
	now = now.Add(30 * time.Minute) // a rotation: all of them are sealed
	admit(keys, keys+1)
	target.Settle()
	if s := target.e.Stats().Flush; s.PendingTables != 0 || s.UnflushedKeys != 1 {
		t.Errorf("%d tables wait, %d keys are in memory", s.PendingTables, s.UnflushedKeys)
	}
}
