package soak

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Config describes a run. Every field is required.
type Config struct {
	Dir    string // of the engine; new or from an earlier run
	For    time.Duration
	Window time.Duration // short, so that many windows pass
	Rate   int           // new keys per second
	Seed   uint64
	// Command returns a process that calls Child with its standard streams and
	// the given argument.
	Command func(arg string) *exec.Cmd
	Tell    func(line string) // of progress
}

// Report is what came of a run. Missed, Wrong and Errors have to be 0.
type Report struct {
	For         time.Duration `json:"for_ns"`
	Seed        uint64        `json:"seed"`
	Lives       int           `json:"lives"`
	Kills       int           `json:"kills"`
	Stops       int           `json:"stops"` // SIGSTOP for a while
	Closes      int           `json:"closes"`
	Damages     int           `json:"damaged_snapshots"`
	Rotations   uint64        `json:"rotations"`
	Flushes     uint64        `json:"flushes"`
	Replayed    uint64        `json:"replayed_keys"`
	Keys        uint64        `json:"keys_acknowledged"`
	Checked     uint64        `json:"old_keys_checked"`
	Missed      uint64        `json:"missed"`
	Wrong       uint64        `json:"wrong"`
	Errors      []string      `json:"errors"`
	MemoryEarly int64         `json:"memory_early_bytes"` // mean of the first half, without the first window
	MemoryLate  int64         `json:"memory_late_bytes"`  // mean of the second half
	MemoryMax   int64         `json:"memory_max_bytes"`
	DiskEarly   int64         `json:"disk_early_bytes"`
	DiskLate    int64         `json:"disk_late_bytes"`
	DiskMax     int64         `json:"disk_max_bytes"`
}

// Sound reports that no promise was broken.
func (r *Report) Sound() bool { return r.Missed == 0 && r.Wrong == 0 && len(r.Errors) == 0 }

// keyRange is n keys from number from on, acknowledged at a wall time in ns.
type keyRange struct {
	from, n uint64
	at      int64
}

// runner is a run under way.
type runner struct {
	c     Config
	rng   *rand.Rand
	out   Report
	tried uint64 // all numbers below were tried
	acked []keyRange
	begun time.Time
	early means
	late  means
}

type means struct{ memory, disk, n int64 }

// Run runs for Config.For and reports. The error is for what kept it from
// running; a broken promise is in the report.
func Run(ctx context.Context, c Config) (Report, error) {
	r := &runner{c: c, rng: rand.New(rand.NewPCG(c.Seed, 1)), begun: time.Now()}
	r.out.Seed = c.Seed
	ctx, cancel := context.WithTimeout(ctx, c.For)
	defer cancel()
	for ctx.Err() == nil && r.out.Sound() {
		if err := r.life(ctx); err != nil {
			return r.out, err
		}
		if r.rng.IntN(4) == 0 {
			r.damage()
		}
	}
	r.out.For = time.Since(r.begun)
	r.out.MemoryEarly, r.out.DiskEarly = r.early.of()
	r.out.MemoryLate, r.out.DiskLate = r.late.of()
	return r.out, nil
}

func (m means) of() (memory, disk int64) {
	if m.n == 0 {
		return 0, 0
	}
	return m.memory / m.n, m.disk / m.n
}

// life starts a child, lets bad things happen to it, and reads it to its end.
func (r *runner) life(ctx context.Context) error {
	now := time.Now().UnixNano()
	var alive []string
	kept := r.acked[:0]
	for _, k := range r.acked {
		if now-k.at < int64(r.c.Window) {
			kept = append(kept, k)
			alive = append(alive, fmt.Sprintf("%d %d %d\n", k.from, k.n, k.at))
		}
	}
	r.acked = kept
	cmd := r.c.Command(fmt.Sprintf("%d %d %d %d %d %s", r.tried, r.c.Window, r.c.Rate, r.rng.IntN(3), r.rng.Uint64(), r.c.Dir))
	cmd.Stdin = strings.NewReader(strings.Join(alive, ""))
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	r.out.Lives++
	end := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.trouble(ctx, cmd, end)
	}()
	r.read(stdout)
	close(end)
	<-ended
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL) {
		r.fail("the child ended by itself: %v", err)
	}
	return nil
}

func (r *runner) fail(format string, args ...any) {
	if len(r.out.Errors) < 20 {
		r.out.Errors = append(r.out.Errors, fmt.Sprintf(format, args...))
	}
}

// trouble decides how the child's life goes on and ends.
func (r *runner) trouble(ctx context.Context, cmd *exec.Cmd, end chan struct{}) {
	wait := func(d time.Duration) bool {
		select {
		case <-time.After(d):
			return true
		case <-ctx.Done():
			return true
		case <-end:
			return false
		}
	}
	rng := rand.New(rand.NewPCG(r.c.Seed, uint64(1000+r.out.Lives)))
	if !wait(time.Duration(rng.Int64N(int64(8 * time.Second)))) {
		return
	}
	if rng.IntN(3) == 0 {
		_ = cmd.Process.Signal(syscall.SIGSTOP)
		wait(time.Duration(rng.IntN(1500)) * time.Millisecond)
		_ = cmd.Process.Signal(syscall.SIGCONT)
		r.out.Stops++
		if !wait(time.Duration(rng.IntN(1000)) * time.Millisecond) {
			return
		}
	}
	if rng.IntN(3) > 0 {
		r.out.Kills++
		_ = cmd.Process.Kill()
		return
	}
	r.out.Closes++
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if wait := rng.IntN(200); wait < 60 { // not always to its end
		select {
		case <-time.After(time.Duration(wait) * time.Millisecond):
			_ = cmd.Process.Kill()
		case <-end:
		}
		return
	}
	select {
	case <-end:
	case <-time.After(time.Minute):
		r.fail("the child did not close within a minute")
		_ = cmd.Process.Kill()
	}
}

// read takes down what a child says; see Child.
func (r *runner) read(out io.Reader) {
	s := bufio.NewScanner(out)
	for s.Scan() {
		word, rest, _ := strings.Cut(s.Text(), " ")
		whole := strings.HasSuffix(rest, ".") // else cut off by a kill
		var k keyRange
		switch {
		case !whole:
		case word == "t" || word == "a":
			if n, _ := fmt.Sscan(rest, &k.from, &k.n, &k.at); n != 3 {
				continue
			}
			r.tried = max(r.tried, k.from+k.n)
			if word == "a" {
				r.acked = append(r.acked, k)
				r.out.Keys += k.n
			}
		case word == "missed":
			r.out.Missed++
			r.fail("missed: %s", rest)
		case word == "wrong":
			r.out.Wrong++
			r.fail("wrong: %s", rest)
		case word == "error":
			r.fail("%s", rest)
		case word == "s":
			r.state(rest)
		}
	}
}

// state notes a child's state of a moment.
func (r *runner) state(rest string) {
	var memory int64
	var rotations, flushes, replayed, checked uint64
	if n, _ := fmt.Sscan(rest, &memory, &rotations, &flushes, &replayed, &checked); n != 5 {
		return
	}
	r.out.Rotations += rotations
	r.out.Flushes += flushes
	r.out.Replayed += replayed
	r.out.Checked += checked
	disk := used(r.c.Dir)
	r.out.MemoryMax, r.out.DiskMax = max(r.out.MemoryMax, memory), max(r.out.DiskMax, disk)
	passed := time.Since(r.begun)
	m := &r.late
	if passed < r.c.For/2 {
		m = &r.early
		if passed < min(r.c.Window, r.c.For/4) {
			return
		}
	}
	m.memory, m.disk, m.n = m.memory+memory, m.disk+disk, m.n+1
	if r.c.Tell != nil {
		r.c.Tell(fmt.Sprintf("%s: %d lives, %d keys, %d missed, %d wrong, memory %d MB, disk %d MB", passed.Round(time.Second),
			r.out.Lives, r.out.Keys, r.out.Missed, r.out.Wrong, memory>>20, disk>>20))
	}
}

// used is what the directory's files take on disk.
func used(dir string) (sum int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil //nolint:nilerr // removed under our eyes
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				sum += st.Blocks * 512
			}
		}
		return nil
	})
	return sum
}

// damage flips a bit of a snapshot, which is a cache: it must be made anew.
func (r *runner) damage() {
	snaps, _ := fs.Glob(os.DirFS(r.c.Dir), "filter-*.snap") // not a pattern of the directory's name too
	if len(snaps) == 0 {
		return
	}
	f, err := os.OpenFile(filepath.Join(r.c.Dir, snaps[r.rng.IntN(len(snaps))]), os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return
	}
	at := r.rng.Int64N(info.Size())
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return
	}
	b[0] ^= 1 << r.rng.IntN(8)
	if _, err := f.WriteAt(b[:], at); err == nil {
		r.out.Damages++
	}
}
