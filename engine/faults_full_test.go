//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/sabotage"
)

// TestFaultsDiskFull fills a small disk again and again under a child: no SIGBUS,
// ErrDiskFull, marks again once there is room, nothing acknowledged lost.
func TestFaultsDiskFull(t *testing.T) {
	body := func(p *faultPart) {
		disk := smallDisk(t)
		l := &ledger{p: p, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()}
		c := childConfig{scenario: "full", dir: filepath.Join(disk, "seen"), now: l.now, speed: 1, batches: faultScale(4, 100), fault: p.fault}
		cmd, stdout := startChild(t, c, "")
		l.read(stdout)
		if err := cmd.Wait(); err != nil {
			p.errorf("the child ended with %v", err)
		}
		p.count("keys acknowledged", int(l.keys))
		_ = os.Remove(filepath.Join(disk, "ballast"))
		e, err := Open(c.dir, childFullOptions(c))
		if err != nil {
			p.fatalf("open afterwards: %v", err)
		}
		for _, k := range l.acked {
			p.count("keys looked up at the end", p.checkKeys(e, "at the end", faultKeys(k.from, k.n), nil))
		}
		faultClose(t, e)
	}
	runFaults(t, body, sabotage.IgnoreRoom)
}

func childFullOptions(c childConfig) Options {
	o := c.options()
	o.MinFreeDisk, o.Sync, o.tableKeys, o.ringBytes = 6<<20, SyncNone, 20_000, 1<<20
	return o
}

// childFull leaves a little room, marks until it is told that the disk is full,
// makes room again and goes on.
func childFull(c childConfig, out *childOutput) {
	rng := rand.New(rand.NewPCG(c.seed, 7))
	e, err := Open(c.dir, childFullOptions(c))
	if err != nil {
		out.printf("e open: %v", err)
		return
	}
	next := c.from
	for fill := range c.batches {
		if err := ballast(c.dir, int64(1+rng.IntN(12))<<20); err != nil {
			out.printf("e ballast: %v", err)
			return
		}
		full, err := fillUp(e, out, &next)
		if err != nil {
			out.printf("e fill %d: %v", fill, err)
			return
		}
		if full {
			out.printf("p disk full")
		}
		if fill%3 == 2 { // also while it is full
			if err := e.Close(); err != nil && !errors.Is(err, dedup.ErrDiskFull) {
				out.printf("e close: %v", err)
				return
			}
			if e, err = Open(c.dir, childFullOptions(c)); err != nil {
				if !errors.Is(err, dedup.ErrDiskFull) {
					out.printf("e open on a full disk: %v", err)
					return
				}
				_ = os.Remove(ballastPath(c.dir))
				if e, err = Open(c.dir, childFullOptions(c)); err != nil {
					out.printf("e open: %v", err)
					return
				}
			}
		}
		if err := os.Remove(ballastPath(c.dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
			out.printf("e %v", err)
			return
		}
		if !worksAgain(e, out, &next) {
			return
		}
		out.printf("p works again")
	}
	if err := e.Close(); err != nil {
		out.printf("e close: %v", err)
	}
}

func ballastPath(dir string) string { return filepath.Join(filepath.Dir(dir), "ballast") }

// ballast takes all room of the disk but left bytes.
func ballast(dir string, left int64) error {
	f, err := os.Create(ballastPath(dir))
	if err != nil {
		return err
	}
	chunk := make([]byte, 256<<10)
	for {
		free, err := freeBytes(dir)
		if err != nil || free <= left {
			return errors.Join(err, f.Close())
		}
		if _, err := f.Write(chunk[:min(int64(len(chunk)), free-left)]); err != nil {
			return errors.Join(err, f.Close())
		}
	}
}

// fillUp marks until the disk is full, or for a while where it never is.
func fillUp(e *Engine, out *childOutput, next *uint64) (full bool, err error) {
	for range 400 {
		if err := childMark(e, out, next); errors.Is(err, dedup.ErrDiskFull) {
			return true, nil
		} else if err != nil {
			return false, err
		}
	}
	return false, nil
}

func childMark(e *Engine, out *childOutput, next *uint64) error {
	const n = 500
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	at := e.clock.read()
	out.printf("t %d %d %d .", *next, n, at)
	from := *next
	*next += n
	vs, err := e.AdmitBatch(ctx, nil, faultKeys(from, n))
	if err != nil {
		return err
	}
	for i, v := range vs {
		if v != dedup.Fresh {
			return fmt.Errorf("key %d, never tried before, is %v", from+uint64(i), v)
		}
	}
	out.acked(e, from, n, at)
	return nil
}

func worksAgain(e *Engine, out *childOutput, next *uint64) bool {
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-time.After(10 * time.Millisecond) {
		if err = childMark(e, out, next); err == nil {
			return true
		}
		if !errors.Is(err, dedup.ErrDiskFull) {
			break
		}
	}
	out.printf("bad with room again a mark gives %v", err)
	return false
}
