package bench

import (
	"fmt"
	"io"
	"strings"
)

// WriteGoBench prints the report in the format of Go benchmarks, one line a
// run, for benchstat.
func (r *Report) WriteGoBench(w io.Writer) error {
	out := &strings.Builder{}
	fmt.Fprintf(out, "goos: %s\npkg: github.com/firstseen/firstseen/bench\ncpu: %s\n", strings.Replace(r.Machine.System, "/", "\ngoarch: ", 1), r.Machine.CPU)
	for _, row := range r.Rows {
		for i := range row.Runs {
			m := &row.Runs[i]
			if m.KeysPerSecond == 0 {
				continue
			}
			// An empty unit or name would make the line unreadable; spaces end it.
			name := strings.ReplaceAll(fmt.Sprintf("Admit/target=%s/workload=%s/batch=%d/goroutines=%d",
				m.Candidate.Name, m.Workload, m.Batch, m.Callers), " ", "_")
			fmt.Fprintf(out, "Benchmark%s %d %.2f ns/key %.0f keys/s %.0f wall-keys/s %d p50-ns %d p99-ns %d p999-ns %d max-ns %.2f RAM-B/key %.2f disk-B/key %d missed %d wrong\n",
				name, m.Messages, 1e9/m.KeysPerSecond, m.KeysPerSecond, m.WallPerSecond,
				m.Latency.P50, m.Latency.P99, m.Latency.P999, m.Latency.Max, m.MemoryPerKey, m.DiskPerKey, m.Missed, m.Wrong)
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}
