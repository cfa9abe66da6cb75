package main

import (
	"github.com/spf13/cobra"

	"github.com/firstseen/firstseen/engine"
)

func newForget(a *app) *cobra.Command {
	var isHex bool
	cmd := &cobra.Command{
		Use:   "forget DIR KEY",
		Short: "Forget a key, so that it passes once more",
		Long: `Makes DIR forget KEY: the next record with it is new again. Prints whether the
key was remembered ("forgotten") or not ("not remembered"); both are a success.

` + keyHelp,
		Example:           `  firstseen forget seen order-17`,
		Args:              exactly("DIR", "KEY"),
		ValidArgsFunction: completeDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			found, err := runForget(cmd, a, args[0], args[1], isHex)
			switch {
			case err != nil:
				return err
			case found:
				return a.answer("forgotten")
			}
			return a.answer("not remembered")
		},
	}
	cmd.Flags().BoolVar(&isHex, "hex", false, "KEY is the stored key's bytes in hexadecimal")
	return cmd
}

func runForget(cmd *cobra.Command, a *app, dir, arg string, isHex bool) (found bool, err error) {
	return askKey(cmd, a, dir, arg, isHex, func(e *engine.Engine, key []byte) (bool, error) {
		found, err := e.Contains(cmd.Context(), key)
		if found && err == nil {
			err = e.Forget(cmd.Context(), key)
		}
		return found, err
	})
}
