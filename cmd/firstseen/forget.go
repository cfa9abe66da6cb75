package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
)

func newForget(a *app) *cobra.Command {
	var isHex, nul bool
	cmd := &cobra.Command{
		Use:   "forget DIR KEY...",
		Short: "Forget a key, so that it passes once more",
		Long: `Makes DIR forget KEY: the next record with it is new again. Prints whether the
key was remembered ("forgotten") or not ("not remembered"); both are a success. The
directory must not be in use.

` + keyHelp,
		Example: `  firstseen forget seen order-17
  firstseen forget seen - < failed-orders.txt`,
		Args:              func(cmd *cobra.Command, args []string) error { return needKeys(cmd.CommandPath(), args) },
		ValidArgsFunction: completeDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runForget(cmd.Context(), a, args[0], args[1:], isHex, nul)
		},
	}
	cmd.Flags().BoolVar(&isHex, "hex", false, "KEY is the stored key's bytes in hexadecimal")
	cmd.Flags().BoolVarP(&nul, "null", "z", false, "keys of a list end with a zero byte instead of a line feed")
	return cmd
}

func runForget(ctx context.Context, a *app, dir string, args []string, isHex, nul bool) (err error) {
	keys, err := newKeyArgs(dir, isHex)
	if err != nil {
		return err
	}
	var key []byte
	isList := len(args) == 1 && args[0] == "-"
	if !isList {
		if key, err = keys.parse(nil, texts(args)...); err != nil {
			return err
		}
	}
	e, err := openExisting(ctx, a, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, explain(e.Close(), dir)) }()
	const yes, no = "forgotten", "not remembered"
	if isList {
		forget := func(ctx context.Context, keys [][]byte) ([]bool, error) {
			return eachKey(keys, func(key []byte) (bool, error) {
				found, err := forgetKey(ctx, e, key)
				return found, explain(err, dir)
			})
		}
		_, err = keyList{args: keys, in: a.in, out: a.out, nul: nul, ask: forget, yes: yes, no: no}.run(ctx)
		return err
	}
	found, err := forgetKey(ctx, e, key)
	switch {
	case err != nil:
		return explain(err, dir)
	case found:
		return a.answer(yes)
	}
	return a.answer(no)
}
