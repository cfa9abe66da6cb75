package fsprom

import (
	"math"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firstseen/firstseen/engine"
)

type engineCollector struct {
	stats       func() engine.Stats
	page        page[engine.Stats]
	generations page[engine.GenerationStats]
}

// Engine returns a collector for an engine: stats is its method Stats. The
// labels, which may be nil, are added to every series; they tell two engines
// of one process apart.
func Engine(stats func() engine.Stats, labels prometheus.Labels) prometheus.Collector {
	c := enginePages(labels)
	c.stats = stats
	return &c
}

// enginePages returns a collector without a source. names are labels whose values
// collect is given.
func enginePages(labels prometheus.Labels, names ...string) (c engineCollector) {
	c.page = page[engine.Stats]{prefix: "firstseen_engine_", labels: names, fixed: labels}
	engineAnswers(&c.page)
	engineMemory(&c.page)
	engineDisk(&c.page)
	engineCalls(&c.page)
	engineRecovery(&c.page)
	c.generations = generations(labels, names)
	return c
}

// Describe implements prometheus.Collector.
func (c *engineCollector) Describe(ch chan<- *prometheus.Desc) {
	c.page.describe(ch)
	c.generations.describe(ch)
}

// Collect implements prometheus.Collector.
func (c *engineCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.stats()
	c.collect(ch, &s)
}

func (c *engineCollector) collect(ch chan<- prometheus.Metric, s *engine.Stats, values ...string) {
	if s.Window.Asked == 0 {
		return // closed: no open engine has a window of 0
	}
	c.page.collect(ch, s, values...)
	for i := range s.Generations {
		// By age, not by number: the number would make new series with every rotation.
		age := strconv.Itoa(len(s.Generations) - 1 - i)
		c.generations.collect(ch, &s.Generations[i], append(values[:len(values):len(values)], age)...)
	}
}

func engineAnswers(p *page[engine.Stats]) {
	type S = engine.Stats
	counterBy(p, "verdicts", "Answers, by verdict. Keys that are not valid count as invalid.", "verdict",
		part[S]{"fresh", func(s *S) uint64 { return s.Verdicts.Fresh }},
		part[S]{"duplicate", func(s *S) uint64 { return s.Verdicts.Duplicate }},
		part[S]{"in_flight", func(s *S) uint64 { return s.Verdicts.InFlight }},
		part[S]{"unknown", func(s *S) uint64 { return s.Verdicts.Unknown }},
		part[S]{"invalid", func(s *S) uint64 { return s.Verdicts.Invalid }})
	counter(p, "refreshed", "Duplicates that were marked anew.", func(s *S) uint64 { return s.Verdicts.Refreshed })
	counterBy(p, "lookups", "Look-ups, by where the answer was found.", "found",
		part[S]{"new", func(s *S) uint64 { return s.Lookups.New }},
		part[S]{"unflushed", func(s *S) uint64 { return s.Lookups.Unflushed }},
		part[S]{"confirmed", func(s *S) uint64 { return s.Lookups.Confirmed }},
		part[S]{"false_positive", func(s *S) uint64 { return s.Lookups.FalsePositive }})
	counter(p, "lookup_runs_asked", "Runs searched for confirms.", func(s *S) uint64 { return s.Lookups.RunsAsked })
	counter(p, "lookup_helped", "Confirms that idle processors took over.", func(s *S) uint64 { return s.Lookups.Helped })
	counter(p, "lookup_repeats", "Confirms repeated because a flush came between.", func(s *S) uint64 { return s.Lookups.SecondLookUps })
	counter(p, "lookup_disk_wait_seconds", "Time that look-ups waited for runs outside the page cache.",
		func(s *S) float64 { return s.Lookups.DiskWait.Seconds() })
	gauge(p, "claims_held", "Claims that are held now.", func(s *S) int { return s.Claims.Held })
	counter(p, "claims", "Claims given.", func(s *S) uint64 { return s.Claims.Claimed })
	counterBy(p, "claim_ends", "Claims ended, by how; lost counts ends that were refused.", "end",
		part[S]{"committed", func(s *S) uint64 { return s.Claims.Committed }},
		part[S]{"released", func(s *S) uint64 { return s.Claims.Released }},
		part[S]{"expired", func(s *S) uint64 { return s.Claims.Expired }},
		part[S]{"lost", func(s *S) uint64 { return s.Claims.Lost }})
	counter(p, "results_kept", "Results stored with marks.", func(s *S) uint64 { return s.Results.Kept })
	counter(p, "results_too_large", "Results that were too large to keep.", func(s *S) uint64 { return s.Results.TooLarge })
	counter(p, "results_answered", "Duplicates answered with a kept result.", func(s *S) uint64 { return s.Results.Answered })
	counter(p, "results_lost", "Duplicates whose result is lost.", func(s *S) uint64 { return s.Results.Lost })
	counter(p, "results_syncs", "Syncs of result files.", func(s *S) uint64 { return s.Results.Syncs })
}

func engineMemory(p *page[engine.Stats]) {
	type S = engine.Stats
	gauge(p, "memory_bytes", "Memory of filters and unflushed keys.", func(s *S) int64 { return s.MemoryBytes })
	gauge(p, "window_asked_seconds", "Window that was asked for.", func(s *S) float64 { return s.Window.Asked.Seconds() })
	gauge(p, "window_span_seconds", "Time that one generation covers.", func(s *S) float64 { return s.Window.Span.Seconds() })
	gauge(p, "window_held_seconds", "Age of the oldest key that is remembered for certain.",
		func(s *S) float64 { return s.Window.Held.Seconds() })
	gauge(p, "filter_bytes", "Memory of the filters.", func(s *S) int64 { return s.Filter.Bytes })
	gauge(p, "filter_bytes_per_key", "Filter memory for each key of the window.", func(s *S) float64 { return s.Filter.BitsPerKey / 8 })
	gauge(p, "filter_capacity_keys", "Keys of a window that the filters are sized for.", func(s *S) uint64 { return s.Filter.Capacity })
	gauge(p, "filter_predicted_false_positive_ratio", "Share of fresh keys that the filters should call maybe.",
		func(s *S) float64 { return s.Filter.PredictedRate })
	gauge(p, "filter_observed_false_positive_ratio", "Share of fresh keys that the filters called maybe (exact mode).",
		func(s *S) float64 { return s.Filter.ObservedRate })
	counter(p, "filter_growths", "Times the filters were made larger.", func(s *S) uint64 { return s.Filter.Growths })
}

func engineDisk(p *page[engine.Stats]) {
	type S = engine.Stats
	gauge(p, "journal_ring_bytes", "Size of the journal.", func(s *S) int64 { return s.Journal.RingBytes })
	gauge(p, "journal_used_bytes", "Bytes of the journal that a restart would replay.", func(s *S) int64 { return s.Journal.UsedBytes })
	gauge(p, "journal_unsynced_bytes", "Bytes that a power loss would take.", func(s *S) int64 { return s.Journal.Unsynced })
	counter(p, "journal_written_bytes", "Bytes written to the journal.", func(s *S) uint64 { return s.Journal.Written })
	counter(p, "journal_syncs", "Syncs of the journal.", func(s *S) uint64 { return s.Journal.Syncs })
	counter(p, "journal_room_waits", "Calls that waited for room in the journal.", func(s *S) uint64 { return s.Journal.WaitsOnRoom })
	gauge(p, "journal_durable_position", "Position up to which the journal is synced.", func(s *S) uint64 { return s.Journal.Durable })
	gauge(p, "unflushed_keys", "Keys in memory and in the journal that are in no run yet.",
		func(s *S) uint64 { return s.Flush.UnflushedKeys })
	gauge(p, "flush_pending_tables", "Full tables that wait for their flush.", func(s *S) int { return s.Flush.PendingTables })
	counter(p, "flush_waits", "Calls that waited because too many tables were pending.", func(s *S) uint64 { return s.Flush.Waits })
	counter(p, "flushes", "Flushes.", func(s *S) uint64 { return s.Flush.Flushes })
	counter(p, "flushed_keys", "Keys written to runs.", func(s *S) uint64 { return s.Flush.Keys })
	counter(p, "flushed_bytes", "Bytes written to runs by flushes.", func(s *S) uint64 { return s.Flush.Bytes })
	counter(p, "flush_busy_seconds", "Time spent flushing.", func(s *S) float64 { return s.Flush.Busy.Seconds() })
	counter(p, "merges", "Merges of runs.", func(s *S) uint64 { return s.Flush.Merges })
	counter(p, "merged_keys", "Keys written by merges.", func(s *S) uint64 { return s.Flush.MergedKeys })
	counter(p, "rotations", "Generations begun.", func(s *S) uint64 { return s.Flush.Rotations })
	counter(p, "retired_generations", "Generations forgotten.", func(s *S) uint64 { return s.Flush.Retired })
	counter(p, "scrub_passes", "Complete checks of the sealed segments.", func(s *S) uint64 { return s.Scrub.Passes })
	counter(p, "scrub_read_bytes", "Bytes checked.", func(s *S) uint64 { return s.Scrub.Bytes })
	counter(p, "scrub_errors", "Damage found by the checks.", func(s *S) uint64 { return s.Scrub.Errors })
	gauge(p, "scrub_last_pass_timestamp_seconds", "End of the last complete check; 0 before the first.",
		func(s *S) float64 { return unix(s.Scrub.LastPass) })
}

func engineCalls(p *page[engine.Stats]) {
	type S = engine.Stats
	counter(p, "batch_calls", "Batch calls.", func(s *S) uint64 { return s.Latency.Calls })
	gauge(p, "batch_call_p50_seconds", "Median duration of a batch call since Open.", func(s *S) float64 { return s.Latency.P50.Seconds() })
	gauge(p, "batch_call_p99_seconds", "99th percentile of a batch call's duration since Open.",
		func(s *S) float64 { return s.Latency.P99.Seconds() })
	gauge(p, "batch_call_p999_seconds", "99.9th percentile of a batch call's duration since Open.",
		func(s *S) float64 { return s.Latency.P999.Seconds() })
	gauge(p, "batch_call_longest_seconds", "Longest batch call since Open.", func(s *S) float64 { return s.Latency.Max.Seconds() })
}

// engineRecovery is what the last Open found: it stays as it is until the next.
func engineRecovery(p *page[engine.Stats]) {
	type S = engine.Stats
	gauge(p, "open_seconds", "How long Open took.", func(s *S) float64 { return s.Recovery.Took.Seconds() })
	gauge(p, "open_clean", "1 if the directory had been closed in order.", func(s *S) float64 { return truth(s.Recovery.Clean) })
	gauge(p, "open_replayed_keys", "Keys that Open took from the journal.", func(s *S) uint64 { return s.Recovery.Replayed })
	gauge(p, "open_rebuilt_generations", "Generations whose filter Open made anew.", func(s *S) int { return s.Recovery.Rebuilt })
	gauge(p, "open_dropped_bytes", "Bytes of an unfinished write that Open dropped.", func(s *S) int64 { return s.Recovery.DroppedBytes })
	gauge(p, "open_gaps", "Lost pieces of the window that Open found.", func(s *S) int { return len(s.Recovery.Gaps) })
	gauge(p, "open_lost_results_generations", "Generations whose results Open found incomplete.",
		func(s *S) int { return len(s.Recovery.LostResults) })
	gauge(p, "open_may_have_lost_seconds", "Marks of this time before a power loss may be lost; +Inf: of any time.",
		func(s *S) float64 {
			if s.Recovery.MayHaveLost < 0 {
				return math.Inf(1)
			}
			return s.Recovery.MayHaveLost.Seconds()
		})
}

func generations(labels prometheus.Labels, names []string) page[engine.GenerationStats] {
	type G = engine.GenerationStats
	p := page[G]{prefix: "firstseen_engine_generation_", labels: append(names[:len(names):len(names)], "age"), fixed: labels}
	gauge(&p, "keys", "Keys in the generation's runs. Age 0 is the live generation.", func(g *G) uint64 { return g.Keys })
	gauge(&p, "runs", "Runs of the generation.", func(g *G) int { return g.Runs })
	gauge(&p, "bytes", "Bytes of the generation's runs.", func(g *G) int64 { return g.Bytes })
	gauge(&p, "fill_ratio", "Share of the generation's filter bits that are set.", func(g *G) float64 { return g.Fill })
	gauge(&p, "has_snapshot", "1 if the generation's filter is on disk.", func(g *G) float64 { return truth(g.Snapshot) })
	return p
}

func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}
