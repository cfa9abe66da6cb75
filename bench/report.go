package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"time"
)

// reportSchema is raised when a field of the JSON form changes its meaning.
const reportSchema = 1

// A Report is what a command measured; its JSON form is read back by
// ReadReport.
type Report struct {
	Schema      int           `json:"schema"`
	Started     time.Time     `json:"started"`
	Took        time.Duration `json:"took_ns"`
	Command     string        `json:"command"`
	Machine     Machine       `json:"machine"`
	Interrupted bool          `json:"interrupted,omitempty"`
	Rows        []Row         `json:"rows"`
	Skipped     []Skipped     `json:"not_measured,omitempty"`
	Filters     []FilterCurve `json:"filters,omitempty"`
}

// A Row is one configuration, measured once or several times.
type Row struct {
	Runs []Result `json:"runs"` // in the order of measuring; samples only in the median
}

// Skipped is something that was asked for and not measured.
type Skipped struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Median is the run with the median rate inside calls, so that all its figures
// belong together. Of an even number it is the slower one of the middle two.
func (r *Row) Median() *Result {
	order := make([]int, len(r.Runs))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool {
		return r.Runs[order[a]].KeysPerSecond < r.Runs[order[b]].KeysPerSecond
	})
	return &r.Runs[order[(len(order)-1)/2]]
}

// Worst counts the wrong answers of all runs.
func (r *Row) Worst() (missed, wrong, unanswered uint64) {
	for i := range r.Runs {
		missed += r.Runs[i].Missed
		wrong += r.Runs[i].Wrong
		unanswered += r.Runs[i].Unanswered
	}
	return missed, wrong, unanswered
}

// id tells rows apart that measure different things.
func (r *Row) id() string {
	m := r.Median()
	return fmt.Sprintf("%s/workload=%s/batch=%d/goroutines=%d/window=%d", m.Candidate.Name, m.Workload, m.Batch, m.Callers, m.Window)
}

// RunAll measures each of configs rounds times, in turn, so that a machine that
// gets slower or faster meanwhile does so for all. It gives what is there when
// ctx ends, Interrupted. each, when set, is told before every run. An error of
// one run goes to Skipped, those of the others don't suffer from it.
func RunAll(ctx context.Context, configs []Config, rounds int, each func(done, total int, c Config)) Report {
	report := Report{Schema: reportSchema, Started: time.Now(), Machine: ThisMachine(configs)}
	rows := make([]Row, len(configs))
	failed := make([]bool, len(configs))
	total := rounds * len(configs)
	for n := range total {
		i := n % len(configs)
		if ctx.Err() != nil {
			break
		}
		if failed[i] {
			continue
		}
		if each != nil {
			each(n, total, configs[i])
		}
		result, err := Run(ctx, configs[i])
		if ctx.Err() != nil && result.Messages == 0 {
			break
		}
		if err != nil {
			failed[i] = true
			report.skip(configs[i], err)
			continue
		}
		rows[i].Runs = append(rows[i].Runs, result)
	}
	for i := range rows {
		if len(rows[i].Runs) > 0 {
			rows[i].dropSamples()
			report.Rows = append(report.Rows, rows[i])
		}
	}
	report.Interrupted = ctx.Err() != nil
	report.Took = time.Since(report.Started)
	return report
}

// skip notes a failure, once for each candidate that isn't there at all.
func (r *Report) skip(c Config, err error) {
	name := c.Candidate.Name
	if !errors.Is(err, ErrNotAvailable) {
		name += " (" + c.Workload.withDefaults().String() + ")"
	}
	for _, s := range r.Skipped {
		if s.Name == name {
			return
		}
	}
	r.Skipped = append(r.Skipped, Skipped{name, err.Error()})
}

// dropSamples keeps those of the median only: the others are never drawn.
func (r *Row) dropSamples() {
	median := r.Median()
	for i := range r.Runs {
		if &r.Runs[i] != median {
			r.Runs[i].Samples = nil
		}
	}
}

// Exact reports whether every answer of every candidate that promises right
// ones was right.
func (r *Report) Exact() bool {
	for _, row := range r.Rows {
		for i := range row.Runs {
			run := &row.Runs[i]
			if run.Candidate.Approximate && run.Missed == 0 && run.Error == "" {
				continue
			}
			if !run.Exact() {
				return false
			}
		}
	}
	return true
}

// Write writes the JSON form.
func (r *Report) Write(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(r)
}

// ReadReport reads the JSON form.
func ReadReport(rd io.Reader) (Report, error) {
	var r Report
	if err := json.NewDecoder(rd).Decode(&r); err != nil {
		return r, fmt.Errorf("bench: reading a report: %w", err)
	}
	if r.Schema != reportSchema {
		return r, fmt.Errorf("bench: the report has schema %d, this program reads %d", r.Schema, reportSchema)
	}
	for i := range r.Rows {
		if len(r.Rows[i].Runs) == 0 {
			return r, errors.New("bench: the report has a row without runs")
		}
	}
	return r, nil
}
