package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/firstseen/firstseen/bench"
)

func newPlan() *cobra.Command {
	rate := quantity(100_000)
	config := bench.PlanConfig{}
	var asJSON bool
	c := &cobra.Command{
		Use:     "plan",
		Short:   "Say what RAM, disk and cores a stream will take",
		Example: "  dedupbench plan --rate 200k --window 24h --key-bytes 36 --duplicates 0.006",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			config.Rate = float64(rate)
			p, err := bench.NewPlan(config)
			if err != nil {
				return fmt.Errorf("%w: %w", errUsage, err)
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(p)
			}
			return p.WriteText(c.OutOrStdout())
		},
	}
	flags := c.Flags()
	flags.Var(&rate, "rate", "messages per second, on average")
	flags.DurationVar(&config.Window, "window", 24*time.Hour, "how long a key is remembered")
	flags.IntVar(&config.KeyBytes, "key-bytes", 16, "average length of a key; UUID and ULID texts count as 16")
	flags.Float64Var(&config.Duplicates, "duplicates", 0.006, "share of messages that repeat a key of the window")
	flags.Float64Var(&config.MaybeRate, "maybe", 0.01, "share of fresh keys that may be looked up in the store")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
