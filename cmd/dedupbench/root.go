package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newRoot() *cobra.Command {
	run := newRun()
	root := &cobra.Command{
		Use:   "dedupbench",
		Short: "Measure deduplicators beside each other, with every answer checked",
		Long: `Dedupbench sends the same seeded messages to the engine and to what one would use instead, checks every answer
against the exact one, and reports throughput, latency, memory, disk and errors.

Without a command it does what "run" does without flags: the engine beside a Go map and Badger, in under a minute.`,
		Args:          noArguments,
		RunE:          run.RunE,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
	}
	root.Flags().AddFlagSet(run.Flags())
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w: %w\nSee %s --help.", errUsage, err, c.CommandPath())
	})
	root.AddCommand(run, newCompare(), newFilter(), newPlan(), newFill())
	return root
}

func noArguments(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%w: %s has no %q. See %s --help.", errUsage, c.CommandPath(), args[0], c.CommandPath())
	}
	return nil
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
