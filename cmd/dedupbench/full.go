package main

import (
	"slices"
	"time"

	"github.com/firstseen/firstseen/bench"
)

// fullConfigs is what --full measures: every target once on the usual stream,
// the engine and three peers on all streams, the engine with all shapes of
// calls, and a large window. The limits of time keep the sum below half an hour
// on two cores.
func fullConfigs(base bench.Config) []bench.Config {
	const usual, large = 20_000_000, 200_000_000
	segment, _ := bench.ParseWorkload("segment")
	var out []bench.Config
	add := func(names []string, w bench.Workload, keys, window uint64, batch, goroutines int, limit time.Duration) {
		for _, candidate := range candidates() {
			if names != nil && !slices.Contains(names, candidate.Name) || w.Spread == bench.Expired && !candidate.Expires {
				continue
			}
			c := base
			c.Candidate, c.Workload, c.Keys, c.Window = candidate, w, keys, window
			c.Batch, c.Callers, c.MaxTime = batch, goroutines, limit
			out = append(out, c)
		}
	}
	engine := []string{"firstseen-always", "firstseen-interval"}
	const keyed = "firstseen-untrusted"
	add(nil, segment, usual, usual, 1000, 1, 12*time.Second)
	for _, name := range bench.WorkloadNames() {
		w, _ := bench.ParseWorkload(name)
		switch {
		case name == "segment":
		case w.Spread == bench.Expired:
			add(engine, w, usual, usual/4, 1000, 1, 15*time.Second)
		case w.Kind == bench.Hostile: // beside raw36
			add([]string{"firstseen-interval", keyed}, w, usual, usual, 1000, 1, 6*time.Second)
		default:
			add(append(engine, "gomap", "badger", "redis"), w, usual, usual, 1000, 1, 6*time.Second)
		}
		if w.Kind == bench.Raw36 {
			add([]string{keyed}, w, usual, usual, 1000, 1, 6*time.Second)
		}
	}
	for _, goroutines := range []int{1, 2, 8} {
		for _, batch := range []int{1, 100, 1000} {
			if batch != 1000 || goroutines != 1 { // that one is above
				add(engine, segment, usual, usual, batch, goroutines, 5*time.Second)
			}
		}
	}
	add([]string{"firstseen-always"}, segment, usual, usual, 1, 64, 5*time.Second)
	// A directory is filled twice, the second time to be killed.
	add([]string{"firstseen-always"}, segment, large, large, 1000, 1, 45*time.Second)
	add([]string{"firstseen-interval"}, segment, large, large, 1000, 1, 90*time.Second)
	return out
}
