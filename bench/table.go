package bench

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// WriteTable prints the report for reading in a terminal.
func (r *Report) WriteTable(w io.Writer) error {
	out := &strings.Builder{}
	m := r.Machine
	fmt.Fprintf(out, "%s, %d cores, %s, %s, %s, %s\n", m.CPU, m.Cores, size(m.Memory), m.Disk, m.System, m.Go)
	if r.Interrupted {
		out.WriteString("Interrupted: this is what was measured until then.\n")
	}
	for _, group := range r.groups() {
		fmt.Fprintf(out, "\n%s\n", group.title)
		if err := writeRows(out, group.rows); err != nil {
			return err
		}
	}
	r.writeFindings(out)
	for _, line := range howToRead {
		fmt.Fprintln(out, line)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// A group is the rows of one table: those that were sent the same messages.
type group struct {
	title string
	rows  []Row
}

func (r *Report) groups() []group {
	var groups []group
	index := make(map[string]int)
	for _, row := range r.Rows {
		m := row.Median()
		title := fmt.Sprintf("%s, %d keys per call, %d goroutine%s, window of %s messages",
			describe(m.Workload), m.Batch, m.Callers, plural(m.Callers), count(float64(m.Window)))
		i, ok := index[title]
		if !ok {
			i = len(groups)
			index[title] = i
			groups = append(groups, group{title: title})
		}
		groups[i].rows = append(groups[i].rows, row)
	}
	return groups
}

// describe says what a workload's name stands for.
func describe(name string) string {
	w, err := ParseWorkload(name)
	if err != nil {
		return name
	}
	kind := map[KeyKind]string{
		Raw16: "16-byte keys", UUID: "UUID texts", Raw36: "36-byte keys", Variable: "keys of 8 to 71 bytes", Hostile: "keys that collide in fours",
	}[w.Kind]
	switch {
	case w.Spread == Zipf:
		return name + ": Zipf, " + kind
	case w.Spread == Expired:
		return fmt.Sprintf("%s: %s sent again after the window, %s", name, share(w.Duplicates), kind)
	case w.Duplicates == 0:
		return name + ": no duplicates, " + kind
	}
	return fmt.Sprintf("%s: %s duplicates (%s), %s", name, share(w.Duplicates), w.Spread, kind)
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

var columns = []string{
	"target", "survives", "messages", "keys/s", "wall keys/s", "p50", "p99", "p99.9", "max", "worst s",
	"RAM B/key", "disk B/key", "open", "killed", "missed", "wrong",
}

func writeRows(out io.Writer, rows []Row) error {
	// Right-aligned numbers want the name padded by hand.
	width := 0
	for _, row := range rows {
		width = max(width, utf8.RuneCountInString(row.Median().Candidate.Name))
	}
	tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "%-*s\t%s\t\n", width, columns[0], strings.Join(columns[1:], "\t"))
	for _, row := range rows {
		fmt.Fprintf(tw, "%-*s\t%s\t\n", width, row.Median().Candidate.Name, strings.Join(cells(&row), "\t"))
	}
	return tw.Flush()
}

// cells are the columns after the first.
func cells(row *Row) []string {
	m := row.Median()
	missed, wrong, _ := row.Worst()
	messages := short(float64(m.Messages))
	if m.Truncated {
		messages += "*"
	}
	perKey := func(bytes float64) string {
		if bytes == 0 {
			return "-"
		}
		return three(bytes)
	}
	wrongs := count(float64(wrong))
	if m.Candidate.Approximate {
		wrongs = share(m.WrongShare())
	}
	return []string{
		string(m.Candidate.Class), messages, short(m.KeysPerSecond), short(m.WallPerSecond),
		duration(m.Latency.P50), duration(m.Latency.P99), duration(m.Latency.P999), duration(m.Latency.Max),
		short(m.WorstSecond), perKey(m.MemoryPerKey), perKey(m.DiskPerKey),
		m.OpenClosed.String(), m.OpenKilled.String(), count(float64(missed)), wrongs,
	}
}

// String writes how long it took, and what went wrong.
func (o *Opening) String() string {
	switch {
	case o == nil:
		return "-"
	case o.Problem != "":
		return "failed"
	case o.Missed > 0:
		return fmt.Sprintf("%d lost", o.Missed)
	}
	return duration(o.Took)
}

// howToRead explains the columns, in lines of a terminal.
var howToRead = []string{
	"keys/s is inside calls, wall keys/s has the making and checking of keys in it; RAM is the process's, above what",
	"it was before; missed duplicates and wrongly dropped keys are counted over all runs, everything else is the median's.",
}

// writeFindings says what the tables can't.
func (r *Report) writeFindings(out io.Writer) {
	var truncated bool
	fmt.Fprintln(out)
	for _, row := range r.Rows {
		for i := range row.Runs {
			run := &row.Runs[i]
			truncated = truncated || run.Truncated
			if run.Error != "" {
				fmt.Fprintf(out, "%s (%s) failed after %s messages: %s\n", run.Candidate.Name, run.Workload, count(float64(run.Messages)), run.Error)
			}
			if run.Unanswered > 0 {
				fmt.Fprintf(out, "%s (%s) left %d keys without an answer\n", run.Candidate.Name, run.Workload, run.Unanswered)
			}
			for _, o := range []*Opening{run.OpenClosed, run.OpenKilled} {
				if o != nil && o.Problem != "" {
					fmt.Fprintf(out, "%s (%s) opened again: %s\n", run.Candidate.Name, run.Workload, o.Problem)
				}
			}
		}
	}
	if truncated {
		fmt.Fprintln(out, "* stopped when its time was up; later messages are usually slower")
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(out, "not measured: %s: %s\n", s.Name, s.Reason)
	}
}
