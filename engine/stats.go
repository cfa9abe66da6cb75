package engine

import (
	"math/bits"
	"time"

	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/persist/journal"
)

// Stats is a picture of an engine at one moment. Counters run from Open. Calls go on while it is
// taken, so counters of the same keys may differ by what was decided meanwhile.
type Stats struct {
	Verdicts    VerdictStats      `json:"verdicts"`
	Lookups     LookupStats       `json:"lookups"`
	Claims      ClaimStats        `json:"claims"`
	Results     ResultStats       `json:"results"`
	Generations []GenerationStats `json:"generations"` // oldest first, the live one last
	Window      WindowStats       `json:"window"`
	Filter      FilterStats       `json:"filter"`
	Journal     JournalStats      `json:"journal"`
	Flush       FlushStats        `json:"flush"`
	Scrub       ScrubStats        `json:"scrub"`
	Latency     LatencyStats      `json:"latency"`
	MemoryBytes int64             `json:"memory_bytes"` // filters and unflushed keys
	Recovery    RecoveryStats     `json:"recovery"`
}

// VerdictStats counts answers.
type VerdictStats struct {
	Fresh     uint64 `json:"fresh"`
	Duplicate uint64 `json:"duplicate"`
	InFlight  uint64 `json:"in_flight"`
	Unknown   uint64 `json:"unknown"`
	Invalid   uint64 `json:"invalid"`
	// Refreshed is how many of Duplicate were marked anew (Options.Refresh).
	Refreshed uint64 `json:"refreshed"`
}

// LookupStats counts how answers were found.
type LookupStats struct {
	New           uint64 `json:"new"`            // the filter alone said "certainly new"
	Unflushed     uint64 `json:"unflushed"`      // found among the unflushed keys
	Confirmed     uint64 `json:"confirmed"`      // "maybe", and a run holds the key
	FalsePositive uint64 `json:"false_positive"` // "maybe", and no run holds the key
	RunsAsked     uint64 `json:"runs_asked"`     // runs searched for all confirms
	Helped        uint64 `json:"helped"`         // confirms that idle processors took over from their callers
	// DiskWait is how long callers and helpers waited for runs that the page cache does not
	// hold, as far as at least 16 runs were asked at a time.
	DiskWait       time.Duration `json:"disk_wait_ns"`
	SecondLookUps  uint64        `json:"second_look_ups"` // confirms repeated because a flush came between
	PredictedMaybe float64       `json:"predicted_maybe"` // expected share of fresh keys that are "maybe", 0 to 1
}

// ClaimStats counts claims.
type ClaimStats struct {
	// Held is how many there are now, with those whose lease has ended and that nobody asked for.
	Held      int    `json:"held"`
	Claimed   uint64 `json:"claimed"`
	Committed uint64 `json:"committed"`
	Released  uint64 `json:"released"`
	Expired   uint64 `json:"expired"` // taken over or swept after the lease ended
	Lost      uint64 `json:"lost"`    // ends and extensions refused with ErrLeaseLost
}

// GenerationStats describes one generation.
type GenerationStats struct {
	Number uint64    `json:"number"`
	Start  time.Time `json:"start"`
	End    time.Time `json:"end"` // zero for the live one
	// Keys are those in runs. What was marked and waits for its flush is in Flush.UnflushedKeys.
	Keys     uint64  `json:"keys"`
	Runs     int     `json:"runs"`
	Bytes    int64   `json:"bytes"` // keys in runs, as stored
	Fill     float64 `json:"fill"`  // share of the generation's filter bits that are set
	Snapshot bool    `json:"snapshot"`
}

// WindowStats compares the window asked for with the one held.
type WindowStats struct {
	Asked time.Duration `json:"asked_ns"`
	Span  time.Duration `json:"span_ns"`
	// Held is the age of the oldest key that is still remembered for certain. It begins at 0 and may
	// exceed Asked by Span.
	Held time.Duration `json:"held_ns"`
	Now  time.Time     `json:"now"` // the engine's clock
}

// FilterStats describes the filters of all shards.
type FilterStats struct {
	Kind       string  `json:"kind"`
	Bytes      int64   `json:"bytes"`
	BitsPerKey float64 `json:"bits_per_key"`
	Capacity   uint64  `json:"capacity"` // keys within a window they are now sized for
	// PredictedRate is the share of fresh keys, 0 to 1, that are "maybe" with the bits set now, by
	// a sample of the shards.
	PredictedRate float64 `json:"predicted_rate"`
	// ObservedRate is the share of Fresh answers since Open that were "maybe" first. 0 in
	// Approximate mode, where nothing tells a wrong "maybe".
	ObservedRate float64 `json:"observed_rate"`
	Growths      uint64  `json:"growths"`
}

// JournalStats describes the journal.
type JournalStats struct {
	RingBytes int64  `json:"ring_bytes"` // the ring's size now
	UsedBytes int64  `json:"used_bytes"` // of it taken by frames that an opening would read, and reserved
	Written   uint64 `json:"written_bytes"`
	Syncs     uint64 `json:"syncs"`
	// Unsynced is how many appended bytes are not on disk yet: what a power loss could take now.
	Unsynced int64 `json:"unsynced_bytes"`
	// WaitsOnRoom counts calls that found the ring full and waited for a flush.
	WaitsOnRoom uint64 `json:"waits_on_room"`
	Durable     uint64 `json:"durable_position"` // only grows; see Options.NotBefore
}

// FlushStats describes the way from memory to runs.
type FlushStats struct {
	UnflushedKeys uint64 `json:"unflushed_keys"` // now in memory and in the journal only
	PendingTables int    `json:"pending_tables"` // now full or over, and waiting for their flush
	// Waits counts the parts of calls that waited for memory, since too many tables were pending:
	// keys come faster than they are written.
	Waits   uint64        `json:"waits"`
	Flushes uint64        `json:"flushes"` // tables that became runs, or whose generation had left
	Keys    uint64        `json:"keys"`
	Bytes   uint64        `json:"bytes"`
	Busy    time.Duration `json:"busy_ns"` // of the flusher, its waits for the disk included
	Merges  uint64        `json:"merges"`
	// MergedKeys are keys that merges have written once more.
	MergedKeys uint64 `json:"merged_keys"`
	Rotations  uint64 `json:"rotations"` // generations that began
	Retired    uint64 `json:"retired"`   // generations that left the window
}

// ScrubStats describes the background check of sealed segments. A pass reads all runs of sealed
// generations once. An error stays counted, also once the damaged generation has left.
type ScrubStats struct {
	Passes   uint64    `json:"passes"`
	Bytes    uint64    `json:"bytes"`
	Errors   uint64    `json:"errors"`
	LastPass time.Time `json:"last_pass"`
	LastErr  string    `json:"last_error,omitempty"`
}

// LatencyStats holds quantiles of the duration of calls since Open, within an eighth. Of calls with
// at most 16 keys only one in 16 is timed, so batches weigh more than their number.
type LatencyStats struct {
	Calls uint64        `json:"calls"` // that were timed
	P50   time.Duration `json:"p50_ns"`
	P99   time.Duration `json:"p99_ns"`
	P999  time.Duration `json:"p999_ns"`
	Max   time.Duration `json:"max_ns"`
}

// ResultStats tells of the results that are kept with marks.
type ResultStats struct {
	// Kept and TooLarge count by the claims that were committed with a result.
	Kept        uint64              `json:"kept"`
	TooLarge    uint64              `json:"too_large"` // not kept
	Answered    uint64              `json:"answered"`  // claims of duplicates that got a result
	Lost        uint64              `json:"lost"`      // claims that got ErrResultLost
	Syncs       uint64              `json:"syncs"`
	Generations []GenerationResults `json:"generations"` // newest first
}

// GenerationResults describes the results of one generation.
type GenerationResults struct {
	Generation uint64 `json:"generation"`
	Dir        string `json:"dir"`
	Records    uint64 `json:"records"` // those of forgotten keys included
	Lost       bool   `json:"lost"`    // some are missing: see ErrResultLost
}

// RecoveryStats tells what the last Open found.
type RecoveryStats struct {
	LostResults []uint64 `json:"lost_results,omitempty"` // generations whose results were found to be incomplete
	// Clean says that the directory was closed in order, so that the journal's end is known exactly.
	Clean        bool   `json:"clean"`
	Replayed     uint64 `json:"replayed_keys"` // keys from the journal
	Rebuilt      int    `json:"rebuilt"`       // generations whose filter was made anew from runs
	DroppedBytes int64  `json:"dropped_bytes"` // of an unfinished write at the journal's end
	// After a power loss without SyncAlways: marks of the last MayHaveLost before
	// it may be lost (-1: of any time), and a sync under way then adds its
	// duration. None is whose call had returned at LostSince, by the engine's clock.
	MayHaveLost time.Duration `json:"may_have_lost_ns"`
	LostSince   time.Time     `json:"lost_since,omitzero"`
	Gaps        []Gap         `json:"gaps,omitempty"`
	Took        time.Duration `json:"took_ns"`
}

// A Gap is a lost piece of the window. Keys that were marked in it may be told as Fresh or as
// Unknown, as Options.OnGap says.
type Gap struct {
	Generation uint64    `json:"generation"`
	Start      time.Time `json:"start"`
	End        time.Time `json:"end"`
	Reason     string    `json:"reason"`
}

// Stats returns a picture of the engine. It takes each shard's lock for a
// moment and samples the filters, about a millisecond in all.
func (e *Engine) Stats() Stats {
	// The gate, since Close frees the filters. Not begin: a failed engine must still be looked at.
	e.gate.RLock()
	defer e.gate.RUnlock()
	if e.gate.closed.Load() {
		return Stats{}
	}
	c, z, j := &e.counts, e.set.Sizes(), e.journal.State()
	now := e.clock.read()
	s := Stats{
		Verdicts: VerdictStats{Fresh: c.fresh.Load(), Duplicate: c.duplicate.Load(), InFlight: c.inFlight.Load(),
			Unknown: c.unknown.Load(), Invalid: c.invalid.Load(), Refreshed: c.refreshed.Load()},
		Lookups: LookupStats{Unflushed: c.unflushed.Load(), Confirmed: c.confirmed.Load(), FalsePositive: c.falsePositive.Load(),
			RunsAsked: c.runsAsked.Load(), Helped: c.helped.Load(), DiskWait: time.Duration(c.diskWait.Load()),
			SecondLookUps: c.again.Load(), PredictedMaybe: z.PredictRate},
		Claims: ClaimStats{Held: z.Claims, Claimed: c.claimed.Load(), Committed: c.committed.Load(), Released: c.released.Load(),
			Expired: c.expired.Load(), Lost: c.lost.Load()},
		Filter: FilterStats{Kind: e.opts.Filter.String(), Bytes: z.FilterBytes, BitsPerKey: e.opts.BitsPerKey,
			Capacity: e.capacity.Load(), PredictedRate: z.PredictRate, Growths: c.growths.Load()},
		Journal: journalStats(j, c.roomWaits.Load()),
		Flush: FlushStats{UnflushedKeys: z.Unflushed, PendingTables: z.Sealed, Waits: e.set.Waits(), Flushes: c.flushes.Load(), Keys: c.flushedKeys.Load(),
			Bytes: c.flushedBytes.Load(), Busy: time.Duration(c.flushBusy.Load()), Merges: c.merges.Load(), MergedKeys: c.mergedKeys.Load()},
		Results:     e.results.stats(),
		Latency:     c.latency.stats(),
		MemoryBytes: z.FilterBytes + z.TableBytes,
		Recovery:    e.recovery,
	}
	// Calls go on while this reads: FalsePositive may be ahead of Fresh, and the difference
	// must not wrap.
	s.Lookups.New = s.Verdicts.Fresh - min(s.Verdicts.Fresh, s.Lookups.FalsePositive)
	if e.opts.Mode == Exact && s.Verdicts.Fresh > 0 {
		s.Filter.ObservedRate = float64(s.Lookups.FalsePositive) / float64(s.Verdicts.Fresh)
	}
	e.scrub.Lock()
	s.Scrub = e.scrub.stats
	e.scrub.Unlock()
	gs := e.window.held()
	s.Flush.Rotations, s.Flush.Retired = e.window.turns()
	s.Window = WindowStats{Asked: e.opts.Window, Span: e.opts.span(), Held: time.Duration(reach(gs, now)), Now: time.Unix(0, now)}
	e.store.view(func(m *persist.Manifest) {
		for _, g := range gs {
			gm := m.Generation(g.number)
			out := generationStats(gm, g)
			out.Fill = fillOf(z.Fill, e.set.Slots(g.number))
			out.Snapshot = e.hasSnapshot(g.number)
			s.Generations = append(s.Generations, out)
		}
	})
	return s
}

func journalStats(j journal.State, waits uint64) JournalStats {
	return JournalStats{RingBytes: j.RingBytes, UsedBytes: j.Used, Written: j.Bytes, Syncs: j.Syncs, Unsynced: j.Unsynced, WaitsOnRoom: waits,
		Durable: j.Durable}
}

// fillOf is the mean fill of some slots.
func fillOf(fill []float64, slots uint8) (mean float64) {
	for i, f := range fill {
		if slots>>i&1 != 0 {
			mean += f / float64(bits.OnesCount8(slots))
		}
	}
	return mean
}

// generationStats sums what the manifest says of a generation. gm is nil for one that has begun
// since the last manifest.
func generationStats(gm *persist.GenerationMeta, g generation) GenerationStats {
	s := GenerationStats{Number: g.number, Start: time.Unix(0, g.start), End: endTime(g.end)}
	if gm == nil {
		return s
	}
	s.Keys = gm.Keys
	s.Runs, s.Bytes = gm.Stored()
	return s
}
