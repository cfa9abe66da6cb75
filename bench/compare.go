package bench

import (
	"fmt"
	"io"
	"math"
	"sort"
	"strings"
	"text/tabwriter"
)

// A Difference is one configuration in two reports.
type Difference struct {
	Row       string
	Old, New  *Result // the medians; nil where the report lacks the row
	Change    float64 // of the rate inside calls: 0.1 is a tenth faster
	Noise     float64 // half of the spread of the runs, both reports' added, as a share of the old rate; NaN with one run each
	OldN      int
	NewN      int
	NewErrors uint64 // wrong answers that the new report has and the old one hasn't
}

// Significant reports whether the change is larger than the noise. With a
// single run each nothing is.
func (d Difference) Significant() bool { return math.Abs(d.Change) > d.Noise }

// Compare lists the rows of both reports, by name.
func Compare(older, newer *Report) []Difference {
	index := func(r *Report) map[string]*Row {
		rows := make(map[string]*Row)
		for i := range r.Rows {
			rows[r.Rows[i].id()] = &r.Rows[i]
		}
		return rows
	}
	was, is := index(older), index(newer)
	var out []Difference
	for id, o := range was {
		d := Difference{Row: id, Old: o.Median(), OldN: len(o.Runs), Noise: math.NaN()}
		if n, ok := is[id]; ok {
			d.New, d.NewN = n.Median(), len(n.Runs)
			d.compare(o, n)
		}
		out = append(out, d)
	}
	for id, n := range is {
		if _, ok := was[id]; !ok {
			out = append(out, Difference{Row: id, New: n.Median(), NewN: len(n.Runs), Noise: math.NaN()})
		}
	}
	sort.Slice(out, func(a, b int) bool { return out[a].Row < out[b].Row })
	return out
}

func (d *Difference) compare(o, n *Row) {
	if d.Old.KeysPerSecond > 0 {
		d.Change = d.New.KeysPerSecond/d.Old.KeysPerSecond - 1
		if len(o.Runs) > 1 || len(n.Runs) > 1 {
			d.Noise = (spread(o) + spread(n)) / 2 / d.Old.KeysPerSecond
		}
	}
	sum := func(r *Row) uint64 {
		missed, wrong, unanswered := r.Worst()
		return missed + wrong + unanswered
	}
	if before, after := sum(o), sum(n); after > before && !d.New.Candidate.Approximate {
		d.NewErrors = after - before
	}
}

// spread is the distance between the fastest and the slowest run.
func spread(r *Row) float64 {
	low, high := math.Inf(1), math.Inf(-1)
	for i := range r.Runs {
		low, high = min(low, r.Runs[i].KeysPerSecond), max(high, r.Runs[i].KeysPerSecond)
	}
	return high - low
}

// WriteDifferences prints a comparison.
func WriteDifferences(w io.Writer, differences []Difference) error {
	out := &strings.Builder{}
	tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "configuration\told keys/s\tnew keys/s\tchange\tnoise\t\tp99\tRAM B/key\tdisk B/key")
	for _, d := range differences {
		if d.Old == nil || d.New == nil {
			side, rate := "only in the old report", d.Old
			if d.Old == nil {
				side, rate = "only in the new report", d.New
			}
			fmt.Fprintf(tw, "%s\t%s\t\t\t\t%s\t\t\t\n", d.Row, short(rate.KeysPerSecond), side)
			continue
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%+.1f %%\t%s\t%s\t%s → %s\t%s → %s\t%s → %s\n", d.Row,
			short(d.Old.KeysPerSecond), short(d.New.KeysPerSecond), d.Change*100, d.noise(), d.judgement(),
			duration(d.Old.Latency.P99), duration(d.New.Latency.P99),
			three(d.Old.MemoryPerKey), three(d.New.MemoryPerKey), three(d.Old.DiskPerKey), three(d.New.DiskPerKey))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	out.WriteString("\nnoise: half of the distance between the fastest and the slowest run, of both reports together\n")
	_, err := io.WriteString(w, out.String())
	return err
}

func (d *Difference) noise() string {
	if math.IsNaN(d.Noise) {
		return "unknown"
	}
	return fmt.Sprintf("±%.1f %%", d.Noise*100)
}

func (d *Difference) judgement() string {
	switch {
	case d.NewErrors > 0:
		return fmt.Sprintf("%d NEW WRONG ANSWERS", d.NewErrors)
	case math.IsNaN(d.Noise):
		return "one run each: measure again with --runs"
	case !d.Significant():
		return "within noise"
	case d.Change > 0:
		return "faster"
	}
	return "SLOWER"
}
