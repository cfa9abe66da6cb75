package bench

import (
	"fmt"
	"testing"
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
				checkEngine(t, Config{Candidate: c, Workload: named.w, Keys: 400_000, Window: 150_000, Batch: 250, Callers: 2, Reopen: true})
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
