package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/firstseen/firstseen/bench"
)

func newCompare() *cobra.Command {
	return &cobra.Command{
		Use:   "compare OLD.json NEW.json",
		Short: "Show the difference between two reports, and whether it is more than noise",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return fmt.Errorf("%w: compare takes two files that run --json has written", errUsage)
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			var reports [2]bench.Report
			for i, path := range args {
				var err error
				if reports[i], err = readReport(path); err != nil {
					return err
				}
			}
			out := c.OutOrStdout()
			if reports[0].Machine.CPU != reports[1].Machine.CPU || reports[0].Machine.Cores != reports[1].Machine.Cores {
				fmt.Fprintln(out, "The reports are from different machines; compare ratios within each instead.")
			}
			return bench.WriteDifferences(out, bench.Compare(&reports[0], &reports[1]))
		},
	}
}

func readReport(path string) (bench.Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return bench.Report{}, err
	}
	defer f.Close()
	r, err := bench.ReadReport(f)
	if err != nil {
		return r, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}
