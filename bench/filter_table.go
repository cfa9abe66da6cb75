package bench

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

var filterColumns = []string{
	"filter", "generations", "bits/key", "in cache: add ns", "one by one", "batches",
	"out of cache: add ns", "one by one", "batches", "maybe at half", "full", "1.5 ×",
}

// filterCells are the columns after the first.
func filterCells(f *FilterCurve) []string {
	cells := []string{strconv.Itoa(f.Generations), three(f.OutOfCache.BitsPerKey)}
	for _, s := range []FilterSpeed{f.InCache, f.OutOfCache} {
		cells = append(cells, three(s.AddNs), three(s.OneNs), three(s.BatchNs))
	}
	for _, fill := range []float64{0.5, 1, 1.5} {
		cells = append(cells, rateAt(f, fill))
	}
	return cells
}

func rateAt(f *FilterCurve, fill float64) string {
	for _, p := range f.Points {
		if p.Fill == fill {
			return share(p.Rate)
		}
	}
	return "-"
}

// WriteFilterTable prints the filters of the report.
func (r *Report) WriteFilterTable(w io.Writer) error {
	if len(r.Filters) == 0 {
		return nil
	}
	out := &strings.Builder{}
	first := r.Filters[0]
	fmt.Fprintf(out, "Filters: %s keys out of cache, %s in it; batches of %d; look-ups of absent keys, ns per key\n\n",
		short(float64(first.OutOfCache.Keys)), short(float64(first.InCache.Keys)), FilterBatch)
	tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(filterColumns, "\t"))
	for i := range r.Filters {
		fmt.Fprintf(tw, "%s\t%s\n", r.Filters[i].Name, strings.Join(filterCells(&r.Filters[i]), "\t"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, out.String())
	return err
}
