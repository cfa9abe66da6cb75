package main

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/firstseen/firstseen/bench"
	"github.com/firstseen/firstseen/bench/peers"
)

func newFilter() *cobra.Command {
	keys := quantity(10_000_000)
	var bitsPerKey float64
	var seed uint64
	var json, html string
	c := &cobra.Command{
		Use:   "filter",
		Short: "Measure filters alone: false positives against fill, time per key in and out of cache",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			bar := newProgress(os.Stderr)
			report := bench.RunAll(c.Context(), nil, 1, nil)
			var err error
			report.Filters, err = measureFilters(c.Context(), bar, uint64(keys), bitsPerKey, seed)
			bar.done()
			if err != nil {
				return err
			}
			report.Command = commandLine()
			report.Machine = bench.ThisMachine([]bench.Config{{Candidate: bench.Candidate{Modules: filterModules}}})
			report.Took = time.Since(report.Started)
			report.Interrupted = c.Context().Err() != nil
			if err := report.WriteFilterTable(c.OutOrStdout()); err != nil {
				return err
			}
			return writeFiles(&report, json, html)
		},
	}
	flags := c.Flags()
	flags.Var(&keys, "keys", "keys in the large filter")
	flags.Float64Var(&bitsPerKey, "bits", 24, "bits per key")
	flags.Uint64Var(&seed, "seed", 1, "seed of the hashes")
	flags.StringVar(&json, "json", "", "write the report to this file")
	flags.StringVar(&html, "html", "", "write a page with charts to this file")
	return c
}

// filterModules are the ones whose versions the report should name.
var filterModules = []string{
	"github.com/bits-and-blooms/bloom/v3", "github.com/greatroar/blobloom", "github.com/dgraph-io/ristretto/v2",
	"github.com/holiman/bloomfilter/v2", "github.com/decred/dcrd/container/apbf",
}

func measureFilters(ctx context.Context, bar *progress, keys uint64, bitsPerKey float64, seed uint64) ([]bench.FilterCurve, error) {
	return bench.MeasureFilters(ctx, append(bench.EngineFilters(), peers.Filters()...), bench.FilterConfig{
		Keys: keys, BitsPerKey: bitsPerKey, Seed: seed,
		Progress: func(done, total int, name string) { bar.step(done, total, "filter "+name, 0) },
	})
}
