package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/firstseen/firstseen/engine/inspect"
)

func newVerify(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify DIR",
		Short: "Read everything and list all damage",
		Long: `Reads every byte of DIR, checks it against its checksums and the manifest, and
lists all damage. It repairs nothing; to read a segment it opens Badger, which
tidies up its own files. The directory must not be in use.

The exit code is 0 when all is sound and 1 when there is any damage. Damage to a
cache is listed too; it is made anew when the directory is opened next.`,
		Example:           `  firstseen verify seen`,
		Args:              exactly("DIR"),
		ValidArgsFunction: completeDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := requireDir(args[0]); err != nil {
				return err
			}
			bar := newProgress(a, -1)
			v, err := inspect.Verify(cmd.Context(), args[0], bar.set)
			bar.finish()
			if err != nil {
				return explain(err, args[0])
			}
			if asJSON {
				err = printJSON(a.out, v)
			} else {
				err = printVerification(a.out, args[0], v)
			}
			if err == nil && len(v.Damages) > 0 {
				err = &exitError{code: exitFailed, err: errSilent}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// printVerification writes the view for people.
func printVerification(out io.Writer, dir string, v inspect.Verification) error {
	_, err := fmt.Fprintf(out, "%s: read %s files, %s runs, %s keys, %s\n", dir,
		humanize.Comma(int64(v.Files)), humanize.Comma(int64(v.Runs)), humanize.Comma(int64(v.Keys)), size(v.Bytes))
	if err != nil {
		return err
	}
	for _, g := range v.Gaps {
		fmt.Fprintf(out, "known gap: generation %d, %s to %s: %s\n", g.Generation, moment(g.Start), moment(g.End), g.Reason)
	}
	if len(v.Damages) == 0 {
		_, err = fmt.Fprintln(out, "sound")
		return err
	}
	fatal := 0
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DAMAGE\tFILE\tAT BYTE\tGENERATION\tFROM\tTO\tWHAT")
	for _, d := range v.Damages {
		kind := "cache"
		if d.Fatal {
			kind = "LOST"
			fatal++
		}
		at, generation := "-", "-"
		if d.Offset >= 0 {
			at = fmt.Sprint(d.Offset)
		}
		if d.Generation > 0 {
			generation = fmt.Sprint(d.Generation)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", kind, d.File, at, generation, moment(d.Start), moment(d.End), d.Detail)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if fatal == 0 {
		_, err = fmt.Fprintf(out, "%d damaged, caches only: they are made anew when the directory is opened next\n", len(v.Damages))
	} else {
		_, err = fmt.Fprintf(out, "%d damaged, %d of them with loss of keys: the directory is refused until 'firstseen repair' has kept the rest; keep a copy of it\n", len(v.Damages), fatal)
	}
	return err
}
