package bench

import (
	_ "embed" // the page's template
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"
)

//go:embed report.tmpl.html
var pageText string

var page = template.Must(template.New("report").Parse(pageText))

// A pageData is what the template shows.
type pageData struct {
	Report   *Report
	Machine  []fact
	Headline []fact
	Sections []pageSection
	Times    []picture
	Rates    template.HTML
	Costs    template.HTML
	Filters  []filterRow
	Notes    []string
}

// Series numbers the colours of line charts.
func (pageData) Series() []int { return []int{0, 1, 2, 3, 4, 5, 6, 7} }

// FilterColumns heads the table of filters.
func (pageData) FilterColumns() []string { return filterColumns }

type fact struct{ Name, Value string }

type pageSection struct {
	Title    string
	Pictures []picture
	Columns  []string
	Rows     [][]string
}

type picture struct {
	Title, Text string
	SVG         template.HTML
}

type filterRow struct {
	Name, About string
	Cells       []string
}

// WriteHTML writes a page that shows the report with charts. It needs nothing
// but itself.
func (r *Report) WriteHTML(w io.Writer) error {
	data := pageData{Report: r, Machine: r.facts(), Headline: r.headline(), Notes: r.pageNotes()}
	for _, g := range r.groups() {
		data.Sections = append(data.Sections, section(g))
	}
	data.Times = r.timePictures()
	if len(r.Filters) > 0 {
		data.Rates, data.Costs, data.Filters = filterPictures(r.Filters)
	}
	if err := page.Execute(w, data); err != nil {
		return fmt.Errorf("bench: writing the page: %w", err)
	}
	return nil
}

func (r *Report) facts() []fact {
	m := r.Machine
	facts := []fact{
		{"CPU", fmt.Sprintf("%s, %d cores", m.CPU, m.Cores)},
		{"Memory", size(m.Memory)},
		{"Disk", fmt.Sprintf("%s, %s free", m.Disk, size(m.DiskFree))},
		{"System", m.System},
		{"Go", fmt.Sprintf("%s, GOMAXPROCS %d", m.Go, m.GoMaxProcs)},
		{"Measured", fmt.Sprintf("%s, in %s", r.Started.UTC().Format("2006-01-02 15:04 UTC"), r.Took.Round(time.Second))},
		{"Command", r.Command},
	}
	if servers := r.servers(); len(servers) > 0 {
		facts = append(facts, fact{"Servers", strings.Join(servers, " · ")})
	}
	if len(m.Modules) > 0 {
		facts = append(facts, fact{"Versions", strings.Join(m.Modules, " · ")})
	}
	return facts
}

// servers lists the programs that were started, each once.
func (r *Report) servers() []string {
	var out []string
	for i := range r.Rows {
		if s := r.Rows[i].Median().Server; s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// headline is the fastest exact engine row beside the fastest of the peers', in
// the first table that has both.
func (r *Report) headline() []fact {
	for _, g := range r.groups() {
		var ours, theirs *Result
		for i := range g.rows {
			m := g.rows[i].Median()
			switch {
			case m.Candidate.Approximate || m.Error != "":
			case isEngine(m) && (ours == nil || m.KeysPerSecond > ours.KeysPerSecond):
				ours = m
			case !isEngine(m) && (m.Candidate.Class == Kill || m.Candidate.Class == Power) && (theirs == nil || m.KeysPerSecond > theirs.KeysPerSecond):
				theirs = m
			}
		}
		if ours == nil {
			continue
		}
		facts := []fact{
			{"keys per second, " + ours.Candidate.Name, short(ours.KeysPerSecond)},
			{"p99 of a call with " + fmt.Sprint(ours.Batch) + " keys", duration(ours.Latency.P99)},
			{"bytes of memory per key", three(ours.MemoryPerKey)},
			{"wrong answers of " + short(float64(ours.Messages)), count(float64(ours.Missed + ours.Wrong + ours.Unanswered))},
		}
		if theirs != nil && theirs.KeysPerSecond > 0 {
			facts = append(facts, fact{"times the fastest peer that survives kill -9, " + theirs.Candidate.Name,
				three(ours.KeysPerSecond/theirs.KeysPerSecond) + " ×"})
		}
		return facts
	}
	return nil
}

func isEngine(m *Result) bool { return strings.HasPrefix(m.Candidate.Name, "firstseen") }

// look is the class of a target's marks.
func look(m *Result) string {
	switch {
	case isEngine(m) && m.Candidate.Approximate:
		return "ours loose"
	case isEngine(m):
		return "ours"
	case m.Candidate.Approximate:
		return "theirs loose"
	}
	return "theirs"
}

func section(g group) pageSection {
	s := pageSection{Title: g.title, Columns: columns}
	var rates, memory, disk []bar
	var spans []span
	for i := range g.rows {
		m := g.rows[i].Median()
		name := m.Candidate.Name
		rates = append(rates, bar{name, look(m), m.KeysPerSecond, short(m.KeysPerSecond),
			fmt.Sprintf("%s: %s keys/s inside calls, %s by the wall", name, count(m.KeysPerSecond), count(m.WallPerSecond))})
		memory = append(memory, bar{name, look(m), m.MemoryPerKey, three(m.MemoryPerKey) + " B",
			fmt.Sprintf("%s: %s in all, %s at most", name, size(m.MemoryEnd), size(m.MemoryPeak))})
		if m.DiskPerKey > 0 {
			disk = append(disk, bar{name, look(m), m.DiskPerKey, three(m.DiskPerKey) + " B",
				fmt.Sprintf("%s: %s, and %s of preallocated journal", name, size(m.Disk), size(m.Ring))})
		}
		l := m.Latency
		spans = append(spans, span{name, look(m), []time.Duration{l.P50, l.P90, l.P99, l.P999, l.Max}})
		s.Rows = append(s.Rows, append([]string{name}, cells(&g.rows[i])...))
	}
	s.Pictures = []picture{
		{"Throughput", "keys per second inside calls", barChart("throughput by target", rates)},
		{"Latency of a call", "p50, p90, p99, p99.9 and the longest, from light to dark", latencyChart("latency by target", spans)},
		{"Memory", "bytes of RAM per remembered key", barChart("memory per key by target", memory)},
	}
	if len(disk) > 0 {
		s.Pictures = append(s.Pictures, picture{"Disk", "bytes per key, open or after closing, the smaller; preallocated journals apart", barChart("disk per key by target", disk)})
	}
	return s
}

// timePictures shows runs that are long enough to have a course: all of the
// first table, and of the others those in which the window moved.
func (r *Report) timePictures() []picture {
	const enough = 5
	if len(r.Rows) == 0 {
		return nil
	}
	var out []picture
	first := len(r.groups()[0].rows)
	for i := range r.Rows {
		m := r.Rows[i].Median()
		var flushes, rotations uint64
		for _, s := range m.Samples {
			flushes += s.Flushes
			rotations += s.Rotations
		}
		if len(m.Samples) < enough || i >= first && rotations == 0 {
			continue
		}
		out = append(out, picture{
			Title: m.Candidate.Name,
			Text: fmt.Sprintf("%s, %d keys per call, %d goroutine%s · %d flushes, %d rotations · worst second %s",
				m.Workload, m.Batch, m.Callers, plural(m.Callers), flushes, rotations, short(m.WorstSecond)),
			SVG: timeChart("throughput over time of "+m.Candidate.Name, look(m), m.Samples, m.SampleLength),
		})
	}
	return out
}

func filterPictures(filters []FilterCurve) (rates, costs template.HTML, rows []filterRow) {
	var curves []curve
	var bars []bar
	for i, f := range filters {
		c := curve{name: f.Name, class: fmt.Sprintf("s%d", i%8)}
		for _, p := range f.Points {
			c.points = append(c.points, [2]float64{p.Fill, p.Rate})
		}
		curves = append(curves, c)
		class := "theirs"
		if strings.HasPrefix(f.Name, "firstseen") {
			class = "ours"
		}
		bars = append(bars, bar{f.Name, class, f.OutOfCache.BatchNs, three(f.OutOfCache.BatchNs) + " ns", f.About})
		rows = append(rows, filterRow{f.Name, f.About, filterCells(&f)})
	}
	return rateChart("rate of maybe for absent keys over fill", curves), barChart("time of a look-up", bars), rows
}

func (r *Report) pageNotes() []string {
	var out strings.Builder
	r.writeFindings(&out)
	var notes []string
	for line := range strings.SplitSeq(out.String(), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			notes = append(notes, line)
		}
	}
	return append(notes, strings.Join(howToRead, " "))
}
