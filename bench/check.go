package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// A Check is one thing that a report must show.
type Check struct {
	// What says in words what is checked.
	What string `json:"what"`
	// Target, Workload, Batch and Goroutines choose a row; zero fields match
	// any. Of several that match, the fastest counts.
	Target     string `json:"target"`
	Workload   string `json:"workload,omitempty"`
	Batch      int    `json:"batch,omitempty"`
	Goroutines int    `json:"goroutines,omitempty"`
	// Over, when set, is another candidate, in a row of the same workload, batch
	// and goroutines (or the one with any, if there is none), and AtLeast is a
	// ratio of rates. Without it AtLeast is keys per second.
	Over    string  `json:"over,omitempty"`
	AtLeast float64 `json:"at_least,omitempty"`
	// AtMost bounds Metric from above: p50_us, p99_us, p999_us, max_us,
	// ram_per_key, disk_per_key, ram_mb, open_ms, open_killed_ms.
	Metric string  `json:"metric,omitempty"`
	AtMost float64 `json:"at_most,omitempty"`
}

// A Finding is what came of a Check.
type Finding struct {
	Check    Check
	Measured float64
	Passed   bool
	Missing  bool // the report lacks a row
}

// ReadChecks reads a list of checks.
func ReadChecks(path string) ([]Check, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("bench: reading checks: %w", err)
	}
	var checks []Check
	if err := json.Unmarshal(text, &checks); err != nil {
		return nil, fmt.Errorf("bench: %s: %w", path, err)
	}
	var problems []error
	for i, c := range checks {
		if c.Target == "" || (c.AtLeast > 0) == (c.Metric != "") || c.Metric != "" && c.AtMost <= 0 {
			problems = append(problems, fmt.Errorf("bench: %s: check %d needs a target and either at_least or metric with at_most", path, i+1))
		}
	}
	return checks, errors.Join(problems...)
}

// Check holds the report against checks. Rows that weren't measured are
// Missing, which is neither passed nor failed.
func (r *Report) Check(checks []Check) []Finding {
	out := make([]Finding, 0, len(checks))
	for _, c := range checks {
		f := Finding{Check: c}
		row := r.fastest(c.Target, c.Workload, c.Batch, c.Goroutines)
		switch {
		case row == nil:
			f.Missing = true
		case c.Metric != "":
			var known bool
			f.Measured, known = row.metric(c.Metric)
			f.Missing = !known
			f.Passed = known && f.Measured <= c.AtMost
		default:
			f.Measured = row.KeysPerSecond
			if c.Over != "" {
				other := r.fastest(c.Over, row.Workload, row.Batch, row.Callers)
				if other == nil {
					other = r.fastest(c.Over, row.Workload, row.Batch, 0)
				}
				if f.Missing = other == nil; !f.Missing {
					f.Measured /= other.KeysPerSecond
				}
			}
			f.Passed = !f.Missing && f.Measured >= c.AtLeast
		}
		out = append(out, f)
	}
	return out
}

func (r *Report) fastest(target, workload string, batch, callers int) *Result {
	var best *Result
	for i := range r.Rows {
		m := r.Rows[i].Median()
		if m.Candidate.Name != target || workload != "" && m.Workload != workload ||
			batch != 0 && m.Batch != batch || callers != 0 && m.Callers != callers {
			continue
		}
		if best == nil || m.KeysPerSecond > best.KeysPerSecond {
			best = m
		}
	}
	return best
}

func (r *Result) metric(name string) (value float64, known bool) {
	switch name {
	case "p50_us":
		return float64(r.Latency.P50) / 1e3, true
	case "p99_us":
		return float64(r.Latency.P99) / 1e3, true
	case "p999_us":
		return float64(r.Latency.P999) / 1e3, true
	case "max_us":
		return float64(r.Latency.Max) / 1e3, true
	case "ram_per_key":
		return r.MemoryPerKey, true
	case "disk_per_key":
		return r.DiskPerKey, r.DiskPerKey > 0
	case "ram_mb":
		return float64(r.MemoryEnd) / 1e6, true
	case "open_ms":
		return openMillis(r.OpenClosed)
	case "open_killed_ms":
		return openMillis(r.OpenKilled)
	}
	return 0, false
}

func openMillis(o *Opening) (float64, bool) {
	if o == nil || o.Problem != "" {
		return 0, false
	}
	return float64(o.Took) / 1e6, true
}

// WriteFindings prints findings and reports whether none failed.
func WriteFindings(w io.Writer, findings []Finding) (passed bool, err error) {
	passed = true
	for _, f := range findings {
		state := "ok      "
		switch {
		case f.Missing:
			state = "missing "
		case !f.Passed:
			state, passed = "FAILED  ", false
		}
		bound := "at least " + short(f.Check.AtLeast)
		if f.Check.Metric != "" {
			bound = "at most " + short(f.Check.AtMost)
		}
		if _, err := fmt.Fprintf(w, "%s%s: %s (%s)\n", state, f.Check.What, short(f.Measured), bound); err != nil {
			return false, err
		}
	}
	return passed, nil
}
