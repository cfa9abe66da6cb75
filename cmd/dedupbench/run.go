package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/firstseen/firstseen/bench"
	"github.com/firstseen/firstseen/bench/peers"
)

// A runFlags is the command line of run.
type runFlags struct {
	targets    []string
	workloads  []string
	sync       []string
	batches    []int
	goroutines []int
	keys       quantity
	window     quantity
	seed       uint64
	runs       int
	maxTime    time.Duration
	dir        string
	full       bool
	kill       bool
	json       string
	html       string
	gobench    bool
	check      string
}

func newRun() *cobra.Command {
	f := &runFlags{keys: 5_000_000}
	c := &cobra.Command{
		Use:   "run",
		Short: "Measure targets (the default command)",
		Example: `  dedupbench run --targets engine,embedded --keys 20M --runs 5 --json now.json --html now.html
  dedupbench run --targets firstseen-interval,redis --workload dup50 --workload dup=0.3,spread=near,kind=uuid
  dedupbench run --full --check bench/targets.json`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	flags := c.Flags()
	flags.StringSliceVar(&f.targets, "targets", []string{"firstseen-always", "firstseen-interval", "gomap", "badger"},
		"what to measure: names or groups, see below")
	flags.StringArrayVar(&f.workloads, "workload", []string{"segment"},
		"messages: "+strings.Join(bench.WorkloadNames(), ", ")+"; or dup=SHARE,spread=uniform|near|zipf|expired,kind=raw16|uuid|raw36|variable|hostile,burst=true; may be repeated")
	flags.StringSliceVar(&f.sync, "sync", nil, "of the engine's exact targets, only these: always, interval, none")
	flags.IntSliceVar(&f.batches, "batch", []int{1000}, "keys per call")
	flags.IntSliceVar(&f.goroutines, "goroutines", []int{1}, "calling goroutines")
	flags.Var(&f.keys, "keys", "messages to send to each target")
	flags.Var(&f.window, "window", "messages that a window spans (default: as many as are sent)")
	flags.Uint64Var(&f.seed, "seed", 1, "seed of keys and order")
	flags.IntVar(&f.runs, "runs", 1, "measure each so often and show the median")
	flags.DurationVar(&f.maxTime, "max-time", 6*time.Second, "stop sending to a target after this time, 0 for never")
	flags.StringVar(&f.dir, "dir", "", "directory for the targets' data (default: the system's temporary one)")
	flags.BoolVar(&f.full, "full", false, "everything: all targets, workloads, calls and filters, in under half an hour")
	flags.BoolVar(&f.kill, "kill", true, "measure the time to open after kill -9 as well")
	flags.StringVar(&f.json, "json", "", "write the report to this file, for compare")
	flags.StringVar(&f.html, "html", "", "write a page with charts to this file")
	flags.BoolVar(&f.gobench, "gobench", false, "print Go benchmark text for benchstat instead of the table")
	flags.StringVar(&f.check, "check", "", "fail if the report falls short of the targets in this file")
	c.Long = c.Short + ".\n\n" + describeTargets()
	return c
}

// candidates lists everything that can be measured.
func candidates() []bench.Candidate {
	return slices.Concat(bench.EngineCandidates(), bench.HintCandidates(), peers.Candidates())
}

func (f *runFlags) run(c *cobra.Command) error {
	configs, err := f.configs()
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	var checks []bench.Check
	if f.check != "" {
		if checks, err = bench.ReadChecks(f.check); err != nil {
			return err
		}
	}
	bar := newProgress(os.Stderr)
	for i := range configs {
		configs[i].Progress = bar.set
		if f.kill {
			configs[i].Kill = killFilled
		}
	}
	report := bench.RunAll(c.Context(), configs, f.runs, func(done, total int, cfg bench.Config) {
		bar.next(done, total, cfg)
	})
	report.Command = commandLine()
	if f.full && c.Context().Err() == nil {
		report.Filters, err = measureFilters(c.Context(), bar, 20_000_000, 24, f.seed)
		report.Interrupted = c.Context().Err() != nil
	}
	report.Took = time.Since(report.Started)
	bar.done()
	if err != nil {
		return err
	}
	return f.show(c, &report, checks)
}

// configs multiplies the flags out.
func (f *runFlags) configs() ([]bench.Config, error) {
	base := bench.Config{Keys: uint64(f.keys), Window: uint64(f.window), Seed: f.seed, Dir: f.dir, MaxTime: f.maxTime, Reopen: true}
	if f.runs < 1 {
		return nil, fmt.Errorf("--runs is %d, it must be at least 1", f.runs)
	}
	if f.full {
		return fullConfigs(base), nil
	}
	targets, err := chooseTargets(f.targets, f.sync)
	if err != nil {
		return nil, err
	}
	workloads, err := chooseWorkloads(f.workloads)
	if err != nil {
		return nil, err
	}
	var out []bench.Config
	for _, w := range workloads {
		for _, batch := range f.batches {
			for _, goroutines := range f.goroutines {
				for _, target := range targets {
					c := base
					c.Candidate, c.Workload, c.Batch, c.Callers = target, w, batch, goroutines
					if w.Spread == bench.Expired {
						if !target.Expires {
							continue
						}
						if c.Window == 0 {
							c.Window = c.Keys / 4
						}
					}
					out = append(out, c)
				}
			}
		}
	}
	return out, nil
}

// show prints and writes the report, and fails if its answers were wrong.
func (f *runFlags) show(c *cobra.Command, r *bench.Report, checks []bench.Check) error {
	out := c.OutOrStdout()
	if f.gobench {
		if err := r.WriteGoBench(out); err != nil {
			return err
		}
	} else {
		if err := r.WriteTable(out); err != nil {
			return err
		}
		if len(r.Filters) > 0 {
			fmt.Fprintln(out)
		}
		if err := r.WriteFilterTable(out); err != nil {
			return err
		}
	}
	if err := writeFiles(r, f.json, f.html); err != nil {
		return err
	}
	failed := !r.Exact()
	if failed {
		fmt.Fprintln(os.Stderr, "dedupbench: a target that promises exact answers gave wrong ones or failed, see above")
	}
	if checks != nil {
		fmt.Fprintln(out)
		passed, err := bench.WriteFindings(out, r.Check(checks))
		if err != nil {
			return err
		}
		failed = failed || !passed
	}
	if failed || context.Cause(c.Context()) != nil {
		return errFailed
	}
	return nil
}
