//go:build linux

package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// fullKinds are what a full disk is made ready for: each fill is for one of them.
var fullKinds = []string{"ring", "journal", "marks", "flush", "merge", "snapshot", "close"}

// TestFaultsDiskFull fills small disks again and again under a child: no SIGBUS,
// ErrDiskFull, marks again once there is room, nothing acknowledged lost.
func TestFaultsDiskFull(t *testing.T) {
	runFaults(t, func(p *faultPart) {
		disks := map[string]string{"tmpfs": smallDisk(t), "ext4": newLoopDisk(t, smallDiskBytes, "-m", "0").Dir}
		for _, where := range sortedKeys(disks) {
			for round := 0; round < faultScale(1, 9) && !p.done(); round++ {
				fullRound(p, disks[where], where, round)
			}
		}
		for _, what := range []string{"ring", "journal", "marks", "flush", "merge", "snapshot", "flush of Close", "snapshot of Close", "Close"} {
			for where := range disks {
				if p.mu.figures["full for the "+what+" on "+where] == 0 {
					p.errorf("%s never met a full disk on %s", what, where)
				}
			}
		}
	})
}

// fullRound lets a child have a disk full once for each kind, and looks for all
// that it was answered.
func fullRound(p *faultPart, disk, where string, round int) {
	l := &ledger{p: p, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano(), where: " on " + where}
	c := childConfig{scenario: "full", dir: filepath.Join(disk, "seen"), now: l.now, speed: 1, sync: Sync(round % 3), seed: uint64(round),
		batches: len(fullKinds)}
	cmd, stdout := startChild(p.t, c, "")
	l.read(stdout)
	if err := cmd.Wait(); err != nil {
		p.errorf("%s, round %d: the child ended with %v", where, round, err)
	}
	p.count("keys acknowledged", int(l.keys))
	if err := os.RemoveAll(ballastPath(c.dir)); err != nil {
		p.t.Fatal(err)
	}
	e, err := openWith(c.dir, childFullOptions(c))
	if err != nil {
		p.fatalf("open afterwards: %v", err)
	}
	for _, k := range l.acked {
		p.count("keys looked up at the end", p.checkKeys(e, "at the end", faultKeys(k.from, k.n), nil))
	}
	faultClose(p.t, e)
	if err := os.RemoveAll(c.dir); err != nil {
		p.t.Fatal(err)
	}
}

func childFullOptions(c childConfig) config {
	o := c.options()
	o.MinFreeDisk, o.tableKeys, o.ringBytes = -1, 2000, 1<<20
	return o
}

// A filler is a child that has its disk full again and again.
type filler struct {
	c     childConfig
	out   *childOutput
	rng   *rand.Rand
	kind  string   // of the present fill
	next  uint64   // key number
	acked []uint64 // where the present fill's batches begin
}

func childFull(c childConfig, out *childOutput) {
	f := &filler{c: c, out: out, rng: rand.New(rand.NewPCG(c.seed, 7)), next: c.from}
	for fill := range c.batches {
		f.kind, f.acked = fullKinds[fill%len(fullKinds)], nil
		do := f.fill
		if f.kind == "ring" {
			do = f.ring
		}
		if err := do(); err != nil {
			out.printf("e fill for %s: %v", f.kind, err)
			return
		}
		out.printf("p fills")
	}
}

// ring has no room for the ring of a new directory.
func (f *filler) ring() error {
	if err := f.ballast(f.rng.Int64N(1 << 20)); err != nil {
		return err
	}
	e, err := openWith(f.c.dir, childFullOptions(f.c))
	if err == nil {
		return errors.Join(errors.New("there was room"), e.Close())
	}
	if err := f.full(f.kind, err); err != nil {
		return err
	}
	if err := os.Remove(ballastPath(f.c.dir)); err != nil {
		return err
	}
	if e, err = openWith(f.c.dir, childFullOptions(f.c)); err != nil {
		return err
	}
	return f.again(e)
}

// fill opens, takes the room away, does what its kind says and gives the room back.
func (f *filler) fill() error {
	o := childFullOptions(f.c)
	o.Logger = slog.New(fullLog{f})
	left := int64(0)
	switch f.kind {
	case "marks": // there still is room for a flush
		o.MinFreeDisk, left = 6<<20, 5<<20+f.rng.Int64N(1<<20)
	case "flush":
		left = f.rng.Int64N(4 << 20)
	case "journal": // the ring is there, nobody flushes
		o.tableKeys = 100_000
	case "merge":
		left = 4<<20 + f.rng.Int64N(64<<10)
		o.workEvery = time.Hour // the worker must not be quicker
	case "snapshot", "close":
		o.workEvery = time.Hour // what a merge gives back would be room
		o.Capacity = 1 << 20    // or the generation is spread over slots, and nothing is written
	}
	e, err := openWith(f.c.dir, o)
	if err != nil {
		return err
	}
	for range 10 {
		if err := f.mark(e); err != nil {
			return err
		}
	}
	for end := time.Now().Add(time.Minute); e.set.Sizes().Sealed > 0 && time.Now().Before(end); {
		<-time.After(time.Millisecond) // a flush under way would take room, or hold what is to be merged
	}
	if err := f.ballast(left); err != nil {
		return err
	}
	switch f.kind {
	case "journal":
		for range 5 {
			err = errors.Join(err, f.mark(e))
		}
		f.out.printf("p full for the journal")
	case "merge":
		// Not when it is due but now; the log tells that there was no room.
		err = e.worker.do(context.Background(), func() error {
			_, err := e.merge(e.window.live(), true)
			return err
		})
		err = errors.Join(err, f.untilFull(e))
	case "snapshot":
		err = f.full(f.kind, e.Snapshot(context.Background()))
	case "close":
		if err = f.full("Close", e.Close()); err == nil {
			e, err = f.reopen(o)
		}
	default:
		err = f.untilFull(e)
	}
	if err != nil {
		return err
	}
	if err := os.Remove(ballastPath(f.c.dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return f.again(e)
}

// reopen opens while the disk is full, or once it no longer is.
func (f *filler) reopen(o config) (*Engine, error) {
	e, err := openWith(f.c.dir, o)
	if err == nil {
		f.out.printf("p opened while full")
		return e, nil
	}
	if err := errors.Join(f.full("Open", err), os.Remove(ballastPath(f.c.dir))); err != nil {
		return nil, err
	}
	return openWith(f.c.dir, o)
}

// again marks once there is room, and finds after reopening what was acknowledged
// since.
func (f *filler) again(e *Engine) error {
	if err := f.works(e); err != nil {
		return err
	}
	if err := e.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	e, err := openWith(f.c.dir, childFullOptions(f.c))
	if err != nil {
		return err
	}
	for _, from := range f.acked {
		for n := from; n < from+fullBatch; n++ {
			if ok, err := e.Contains(context.Background(), faultKey(n)); err != nil || !ok {
				return fmt.Errorf("key %d was acknowledged; after reopening: %v, %w", n, ok, cmp.Or(err, errors.New("missed")))
			}
		}
	}
	f.out.printf("p works again")
	return e.Close()
}

// full notes that something met the full disk; anything else is an error.
func (f *filler) full(what string, err error) error {
	if !errors.Is(err, dedup.ErrDiskFull) {
		return fmt.Errorf("on a full disk: %w", cmp.Or(err, errors.New("no error")))
	}
	f.out.printf("p full for the %s", what)
	return nil
}

// fullLog hears of the background's full disks.
type fullLog struct{ f *filler }

func (h fullLog) Enabled(context.Context, slog.Level) bool { return true }
func (h fullLog) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h fullLog) WithGroup(string) slog.Handler            { return h }

func (h fullLog) Handle(_ context.Context, r slog.Record) error {
	what := map[string]string{
		"keys were left to the journal at the close":    "flush of Close",
		"the filters could not be written at the close": "snapshot of Close",
		"a merge waits for room":                        "merge",
		"background work failed":                        "background",
	}[r.Message]
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok && what != "" && errors.Is(err, dedup.ErrDiskFull) {
			h.f.out.printf("p full for the %s", what)
		}
		return true
	})
	return nil
}

func ballastPath(dir string) string { return filepath.Join(filepath.Dir(dir), "ballast") }

// ballast takes all room of the disk but left bytes.
func (f *filler) ballast(left int64) (err error) {
	file, err := os.Create(ballastPath(f.c.dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	chunk := make([]byte, 256<<10)
	for {
		free, err := freeBytes(filepath.Dir(f.c.dir))
		if err != nil || free <= left {
			return err
		}
		if _, err := file.Write(chunk[:min(int64(len(chunk)), free-left)]); errors.Is(err, syscall.ENOSPC) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// untilFull marks until it is told that the disk is full: by the guard, or because
// a flush found it so.
func (f *filler) untilFull(e *Engine) error {
	for range 400 {
		if err := f.mark(e); err != nil {
			if f.kind == "marks" {
				return f.full(f.kind, err)
			}
			return f.full("flush", err)
		}
	}
	return errors.New("400 batches and the disk is not full")
}

// works marks, as soon as the engine has noticed that there is room.
func (f *filler) works(e *Engine) error {
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); <-time.After(10 * time.Millisecond) {
		if err = f.mark(e); err == nil || !errors.Is(err, dedup.ErrDiskFull) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("with room again: %w", err)
	}
	return nil
}

const fullBatch = 500

func (f *filler) mark(e *Engine) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	from, at := f.next, e.clock.read()
	f.out.printf("t %d %d %d .", from, fullBatch, at)
	f.next += fullBatch
	vs, err := e.AdmitBatch(ctx, nil, faultKeys(from, fullBatch))
	if err != nil {
		return err
	}
	for i, v := range vs {
		if v != dedup.Fresh {
			return fmt.Errorf("key %d, never tried before, is %v", from+uint64(i), v)
		}
	}
	f.acked = append(f.acked, from)
	f.out.acked(e, from, fullBatch, at)
	return nil
}
