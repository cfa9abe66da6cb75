package main

import (
	"github.com/spf13/cobra"

	"github.com/firstseen/firstseen/engine"
)

func newContains(a *app) *cobra.Command {
	var isHex bool
	cmd := &cobra.Command{
		Use:   "contains DIR KEY",
		Short: "Say whether a key is remembered",
		Long: `Prints yes when KEY is remembered in DIR, or no. It marks nothing.

The exit code is 0 for yes and 1 for no. When there is no answer, because the
directory is not there, in use or damaged, it is 2 like for a wrong command
line, so that a failure is never taken for a no.

` + keyHelp,
		Example: `  firstseen contains seen order-17
  firstseen contains --hex seen 0190c7a27b1c7d0e8a502f6a3f6c9d11`,
		Args:              exactly("DIR", "KEY"),
		ValidArgsFunction: completeDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			found, err := runContains(cmd, a, args[0], args[1], isHex)
			switch {
			case err != nil && cmd.Context().Err() != nil:
				return err // by the signal's code
			case err != nil:
				return noAnswer(err)
			case found:
				return noAnswer(a.answer("yes"))
			}
			if err := a.answer("no"); err != nil {
				return noAnswer(err)
			}
			return &exitError{code: exitFailed, err: errSilent}
		},
	}
	cmd.Flags().BoolVar(&isHex, "hex", false, "KEY is the stored key's bytes in hexadecimal")
	return cmd
}

func runContains(cmd *cobra.Command, a *app, dir, arg string, isHex bool) (found bool, err error) {
	return askKey(cmd, a, dir, arg, isHex, func(e *engine.Engine, key []byte) (bool, error) {
		return e.Contains(cmd.Context(), key)
	})
}

// askKey opens a directory that must be there and does something with one key.
func askKey(cmd *cobra.Command, a *app, dir, arg string, isHex bool, ask func(*engine.Engine, []byte) (bool, error)) (found bool, err error) {
	key, err := parseKeyArg(arg, isHex)
	if err != nil {
		return false, err
	}
	e, err := openExisting(cmd.Context(), a, dir)
	if err != nil {
		return false, err
	}
	found, err = ask(e, key)
	if cerr := e.Close(); err == nil {
		err = cerr
	}
	return found, explain(err, dir)
}
