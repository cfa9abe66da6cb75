package peers

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/firstseen/firstseen/bench"
)

// The runs of these tests use the system's temporary directory instead of
// t.TempDir, which only root could pass through where root runs the tests:
// servers run as somebody else.

// TestPeersAreExact: a peer that answered wrongly would be measured unfairly,
// one way or the other.
func TestPeersAreExact(t *testing.T) {
	for _, c := range Candidates() {
		t.Run(c.Name, func(t *testing.T) {
			r, err := bench.Run(context.Background(), bench.Config{
				Candidate: c, Keys: 25_000, Batch: 500, Callers: 2, Reopen: true,
				Workload: bench.Workload{Duplicates: 0.3, Spread: bench.Uniform, Kind: bench.Variable},
			})
			if errors.Is(err, bench.ErrNotAvailable) {
				if os.Getenv("FIRSTSEEN_REQUIRE_SERVERS") == "1" {
					t.Fatal(err)
				}
				t.Skipf("NOT TESTED: %v", err)
			}
			if err != nil {
				t.Fatal(err)
			}
			if r.Messages != 25_000 || r.Duplicates < 5_000 {
				t.Errorf("%d messages, %d duplicates", r.Messages, r.Duplicates)
			}
			if c.Approximate {
				if r.Missed != 0 || r.WrongShare() > 3*pairRate {
					t.Errorf("missed %d, wrong %d of %d", r.Missed, r.Wrong, r.Fresh)
				}
			} else if !r.Exact() {
				t.Errorf("missed %d, wrong %d, error %q, opened again %+v", r.Missed, r.Wrong, r.Error, r.OpenClosed)
			}
			if c.Embedded && c.Class != bench.Memory && (r.OpenClosed == nil || r.OpenClosed.Asked == 0 || r.Disk == 0) {
				t.Errorf("opened again: %+v, %d bytes on disk", r.OpenClosed, r.Disk)
			}
			t.Logf("%.0f keys/s, %d bytes on disk, %.0f bytes of memory a key", r.KeysPerSecond, r.Disk, r.MemoryPerKey)
		})
	}
}

// TestMariaDBWithoutReturning takes the way that MySQL needs.
func TestMariaDBWithoutReturning(t *testing.T) {
	c := mariadbCandidate()
	c.Open = func(ctx context.Context, s bench.Setup) (bench.Target, error) {
		target, err := openMariaDB(ctx, s)
		if err != nil {
			return nil, err
		}
		target.returning = false
		return target, nil
	}
	r, err := bench.Run(context.Background(), bench.Config{
		Candidate: c, Keys: 20_000, Callers: 2, Workload: bench.Workload{Duplicates: 0.3},
	})
	if errors.Is(err, bench.ErrNotAvailable) {
		t.Skipf("NOT TESTED: %v", err)
	}
	if err != nil || !r.Exact() {
		t.Errorf("missed %d, wrong %d, error %q, %v", r.Missed, r.Wrong, r.Error, err)
	}
}

func TestServerThatFails(t *testing.T) {
	dir, err := os.MkdirTemp("", "dedupbench-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	data, err := dataDir(dir, "x")
	if err != nil {
		t.Fatal(err)
	}
	never := func(context.Context) error { return errors.New("not yet") }
	if _, err := startServer(context.Background(), data, never, "/nonexistent/server"); !errors.Is(err, bench.ErrNotAvailable) {
		t.Errorf("a program that isn't there: %v", err)
	}
	sh, err := findProgram([]string{"sh"})
	if err != nil {
		t.Skip(err)
	}
	_, err = startServer(context.Background(), data, never, sh, "-c", "echo no licence >&2; exit 3")
	if !errors.Is(err, bench.ErrNotAvailable) {
		t.Errorf("a server that ends at once: %v", err)
	}
	if _, err := findProgram([]string{"no-such-program-here"}); !errors.Is(err, bench.ErrNotAvailable) {
		t.Errorf("a program that can't be found: %v", err)
	}
}
