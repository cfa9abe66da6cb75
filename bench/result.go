package bench

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A Result is one measured run.
type Result struct {
	Candidate Candidate `json:"candidate"`
	Server    string    `json:"server,omitempty"` // program and version, where there is one
	Workload  string    `json:"workload"`
	Batch     int       `json:"batch"`
	Callers   int       `json:"callers"`
	Window    uint64    `json:"window_messages"`
	Seed      uint64    `json:"seed"`

	Messages  uint64 `json:"messages"`
	Truncated bool   `json:"truncated,omitempty"` // stopped by MaxTime or by the caller
	Error     string `json:"error,omitempty"`     // of a call; the rest of the run is what came before

	// KeysPerSecond is the rate inside calls: messages over the mean time that
	// a caller spent within them. WallPerSecond is messages over the time that
	// passed, with the making and checking of keys in it.
	KeysPerSecond float64       `json:"keys_per_second"`
	WallPerSecond float64       `json:"wall_keys_per_second"`
	WorstSecond   float64       `json:"worst_second_keys"` // fewest in any second by the wall; the wall rate in runs below one
	Wall          time.Duration `json:"wall_ns"`

	Latency Latency `json:"latency"` // of calls

	Fresh      uint64 `json:"fresh"`      // right answers by construction
	Duplicates uint64 `json:"duplicates"` // likewise
	Missed     uint64 `json:"missed"`     // duplicates that were let through
	Wrong      uint64 `json:"wrong"`      // fresh keys that were called duplicates
	Late       uint64 `json:"late"`       // fresh keys that an approximate target dropped at first and let through when they came again
	Unanswered uint64 `json:"unanswered"` // InFlight or Unknown, where neither can be right

	MemoryPeak int64 `json:"memory_peak_bytes"` // anonymous resident memory above what it was before opening, servers included
	MemoryEnd  int64 `json:"memory_end_bytes"`  // the same at the end, after a collection of garbage
	Mapped     int64 `json:"mapped_bytes"`      // resident pages of files at the end; the system may take them back
	Disk       int64 `json:"disk_bytes"`        // allocated blocks, without the ring; open or after Close, the smaller
	Ring       int64 `json:"ring_bytes"`
	Usage      Usage `json:"usage"` // as the target says, at the end

	MemoryPerKey float64 `json:"memory_per_key"` // MemoryEnd over the keys that are remembered
	DiskPerKey   float64 `json:"disk_per_key"`   // Disk over the keys that lie there

	OpenNew      time.Duration `json:"open_new_ns"`
	CloseTook    time.Duration `json:"close_ns"`
	OpenClosed   *Opening      `json:"open_after_close,omitempty"`
	OpenKilled   *Opening      `json:"open_after_kill,omitempty"`
	Samples      []Sample      `json:"samples,omitempty"`
	SampleLength time.Duration `json:"sample_ns"`
}

// An Opening is a directory opened again.
type Opening struct {
	Took    time.Duration `json:"took_ns"`
	Asked   int           `json:"asked"`  // keys that had been marked
	Missed  int           `json:"missed"` // of these, the ones that were fresh again
	Problem string        `json:"problem,omitempty"`
}

// Latency holds quantiles of the duration of calls.
type Latency struct {
	Calls int64         `json:"calls"`
	P50   time.Duration `json:"p50_ns"`
	P90   time.Duration `json:"p90_ns"`
	P99   time.Duration `json:"p99_ns"`
	P999  time.Duration `json:"p999_ns"`
	Max   time.Duration `json:"max_ns"`
}

func latencyOf(h *hdrhistogram.Histogram) Latency {
	at := func(q float64) time.Duration { return time.Duration(h.ValueAtQuantile(q)) }
	return Latency{h.TotalCount(), at(50), at(90), at(99), at(99.9), time.Duration(h.Max())}
}

// A Sample is what happened in one interval.
type Sample struct {
	Messages  uint64 `json:"n"`
	Flushes   uint64 `json:"f,omitempty"`
	Rotations uint64 `json:"r,omitempty"`
}

// Remembered is how many different keys the target must hold at the end of the
// run: no more than were fresh, no more than a window spans.
func (r *Result) Remembered() uint64 {
	if !r.Candidate.Expires || r.Messages <= r.Window || r.Messages == 0 {
		return r.Fresh
	}
	return uint64(float64(r.Fresh) / float64(r.Messages) * float64(r.Window))
}

// WrongShare is the share of fresh keys that were dropped.
func (r *Result) WrongShare() float64 {
	if r.Fresh == 0 {
		return 0
	}
	return float64(r.Wrong) / float64(r.Fresh)
}

// Exact reports whether every answer was right.
func (r *Result) Exact() bool {
	again := func(o *Opening) bool { return o == nil || o.Missed == 0 && o.Problem == "" }
	return r.Missed == 0 && r.Wrong == 0 && r.Unanswered == 0 && r.Error == "" &&
		again(r.OpenClosed) && again(r.OpenKilled)
}

// worstSecond is the smallest sum over a second's worth of neighbouring
// samples, or 0 when there is less than one.
func worstSecond(samples []Sample, every time.Duration) float64 {
	n := int(time.Second / every)
	if n < 1 || len(samples) < n {
		return 0
	}
	var sum uint64
	worst := uint64(1<<64 - 1)
	for i, s := range samples {
		sum += s.Messages
		if i >= n {
			sum -= samples[i-n].Messages
		}
		if i >= n-1 {
			worst = min(worst, sum)
		}
	}
	return float64(worst)
}
