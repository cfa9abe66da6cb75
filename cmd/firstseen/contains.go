package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
)

func newContains(a *app) *cobra.Command {
	var isHex, nul bool
	cmd := &cobra.Command{
		Use:   "contains DIR KEY...",
		Short: "Say whether a key is remembered",
		Long: `Prints yes when KEY is remembered in DIR, or no. It marks nothing. While a filter
has DIR open, that filter is asked.

The exit code is 0 for yes and 1 for no; of a list, 0 when all are remembered. When
there is no answer, because the directory is not there, in use by another program or
damaged, it is 2 like for a wrong command line, so that a failure is never taken for
a no.

` + keyHelp,
		Example: `  firstseen contains seen order-17
  firstseen contains seen alice 2024-05-01           # a key of two fields
  firstseen contains seen - < orders.txt | grep ^no
  firstseen contains --hex seen 0190c7a27b1c7d0e8a502f6a3f6c9d11`,
		Args:              func(cmd *cobra.Command, args []string) error { return needKeys(cmd.CommandPath(), args) },
		ValidArgsFunction: completeDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := runContains(cmd.Context(), a, args[0], args[1:], isHex, nul)
			switch {
			case err != nil && cmd.Context().Err() != nil:
				return err // by the signal's code
			case err != nil:
				return noAnswer(err)
			case !all:
				return &exitError{code: exitFailed, err: errSilent}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&isHex, "hex", false, "KEY is the stored key's bytes in hexadecimal")
	cmd.Flags().BoolVarP(&nul, "null", "z", false, "keys of a list end with a zero byte instead of a line feed")
	return cmd
}

func runContains(ctx context.Context, a *app, dir string, args []string, isHex, nul bool) (all bool, err error) {
	keys, err := newKeyArgs(dir, isHex)
	if err != nil {
		return false, err
	}
	fields := texts(args)
	var key []byte
	isList := len(args) == 1 && args[0] == "-"
	if !isList {
		if key, err = keys.parse(nil, fields...); err != nil {
			return false, err
		}
	}
	ask, done, err := openToAsk(ctx, a, dir)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, done()) }()
	if isList {
		return keyList{args: keys, in: a.in, out: a.out, nul: nul, ask: ask, yes: "yes", no: "no"}.run(ctx)
	}
	found, err := ask(ctx, [][]byte{key})
	if err != nil {
		return false, err
	}
	return found[0], a.answer(map[bool]string{true: "yes", false: "no"}[found[0]])
}

func texts(args []string) [][]byte {
	fields := make([][]byte, len(args))
	for i, arg := range args {
		fields[i] = []byte(arg)
	}
	return fields
}

// An askFunc says of each key whether it is remembered.
type askFunc func(ctx context.Context, keys [][]byte) ([]bool, error)

// openToAsk asks the filter that has the directory open, or else opens it.
func openToAsk(ctx context.Context, a *app, dir string) (askFunc, func() error, error) {
	if s := dialAsk(ctx, dir); s != nil {
		return s.contains, s.close, nil
	}
	e, err := openExisting(ctx, a, dir)
	if errors.Is(err, dedup.ErrLocked) {
		// It may have been opened just now.
		if s := dialAsk(ctx, dir); s != nil {
			return s.contains, s.close, nil
		}
	}
	if err != nil {
		return nil, nil, err
	}
	ask := func(ctx context.Context, keys [][]byte) ([]bool, error) {
		return eachKey(keys, func(key []byte) (bool, error) {
			found, err := e.Contains(ctx, key)
			return found, explain(err, dir)
		})
	}
	return ask, func() error { return explain(e.Close(), dir) }, nil
}

// eachKey asks for one key after the other.
func eachKey(keys [][]byte, ask func(key []byte) (bool, error)) ([]bool, error) {
	found := make([]bool, len(keys))
	for i, key := range keys {
		var err error
		if found[i], err = ask(key); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// forgetKey forgets a key and says whether it was remembered.
func forgetKey(ctx context.Context, e *engine.Engine, key []byte) (found bool, err error) {
	if found, err = e.Contains(ctx, key); found && err == nil {
		err = e.Forget(ctx, key)
	}
	return found, err
}
