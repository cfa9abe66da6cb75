package main

import (
	"fmt"
	"io"
	"os"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/firstseen/firstseen/bench"
)

// A progress shows a bar on a terminal and a line per run elsewhere. set may be
// called from another goroutine than the rest, but not at the same time.
type progress struct {
	out      io.Writer
	terminal bool
	bar      *progressbar.ProgressBar
}

func newProgress(f *os.File) *progress {
	return &progress{out: f, terminal: term.IsTerminal(int(f.Fd()))}
}

// next begins the bar of the next run.
func (p *progress) next(done, total int, c bench.Config) {
	name := fmt.Sprintf("%s, %s, %d a call, %d goroutine(s)", c.Candidate.Name, c.Workload, c.Batch, c.Callers)
	if c.MaxTime > 0 {
		name += fmt.Sprintf(", at most %v", c.MaxTime)
	}
	p.step(done, total, name, int64(c.Keys))
}

// step begins the bar of anything; length below 1 has no end that is known.
func (p *progress) step(done, total int, name string, length int64) {
	name = fmt.Sprintf("[%d/%d] %s", done+1, total, name)
	if !p.terminal {
		fmt.Fprintln(p.out, name)
		return
	}
	p.done()
	if length < 1 {
		length = -1
	}
	p.bar = progressbar.NewOptions64(length,
		progressbar.OptionSetWriter(p.out), progressbar.OptionSetDescription(name),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("keys"),
		progressbar.OptionSetPredictTime(true), progressbar.OptionSetWidth(24), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetRenderBlankState(true))
}

// set is bench.Config.Progress.
func (p *progress) set(done, _ uint64) {
	if p.bar != nil {
		_ = p.bar.Set64(int64(done)) // a bar that can't be drawn is no reason to stop
	}
}

// done removes the bar.
func (p *progress) done() {
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
}
