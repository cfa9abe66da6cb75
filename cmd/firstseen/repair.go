package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/firstseen/firstseen/engine/inspect"
)

func newRepair(a *app) *cobra.Command {
	var asJSON, yes, accept bool
	var window windowFlag
	cmd := &cobra.Command{
		Use:   "repair DIR",
		Short: "Keep what is sound of a damaged directory",
		Long: `Finds all damage in DIR, says what can be kept and what part of the window is
lost, and asks before it writes. With --yes it does not ask; without a terminal
and without --yes it changes nothing. What is given up is moved into
DIR/damaged-<n>, never deleted. The directory must not be in use.

The gap is noted in DIR. Until its part of the window has passed, DIR is opened
only by those who asked to be told "unknown" of keys that may have been marked in
it (OnGap: Report), unless --accept says that such keys may count as new.

The exit code is 0 when nothing is left to repair, else 1.`,
		Example: `  firstseen repair seen
  firstseen repair seen --yes --accept`,
		Args:              exactly("DIR"),
		ValidArgsFunction: completeDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := requireDir(args[0]); err != nil {
				return err
			}
			opts := inspect.RepairOptions{Accept: accept, Window: time.Duration(window), DryRun: true}
			found, err := inspect.Repair(cmd.Context(), args[0], opts)
			if err != nil {
				return explain(err, args[0])
			}
			if !asJSON {
				if err := printRepair(a.out, found); err != nil {
					return err
				}
			}
			if len(found.Actions) > 0 && (yes || a.confirm("Repair it?")) {
				opts.DryRun = false
				if found, err = inspect.Repair(cmd.Context(), args[0], opts); err != nil {
					return explain(err, args[0])
				}
				fmt.Fprintf(a.err, "repaired%s\n", aside(found))
			}
			if asJSON {
				if err := printJSON(a.out, found); err != nil {
					return err
				}
			}
			if len(found.Actions) > 0 && !found.Done {
				return &exitError{code: exitFailed, err: fmt.Errorf("nothing was changed; --yes repairs without asking")}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&yes, "yes", false, "don't ask")
	cmd.Flags().BoolVar(&accept, "accept", false, "accept the loss: keys marked in a gap may pass once more")
	cmd.Flags().Var(&window, "window", "the window, where the manifest that knows it is lost")
	return cmd
}

// confirm asks on a terminal; without one the answer is no.
func (a *app) confirm(question string) bool {
	if !isTerminal(a.in) {
		return false
	}
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	answer, _ := bufio.NewReader(a.in).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}

func aside(r inspect.Repaired) string {
	if r.Aside == "" {
		return ""
	}
	return "; what was given up is in " + r.Aside
}

// printRepair writes the view for people.
func printRepair(out io.Writer, r inspect.Repaired) error {
	var b strings.Builder
	switch {
	case len(r.Damages) == 0 && len(r.Gaps) == 0:
		fmt.Fprintf(&b, "%s: sound, nothing to repair\n", r.Dir)
	case len(r.Damages) == 0:
		fmt.Fprintf(&b, "%s: no new damage\n", r.Dir)
	default:
		fmt.Fprintf(&b, "%s: %d damaged\n", r.Dir, len(r.Damages))
	}
	for _, d := range r.Damages {
		fmt.Fprintf(&b, "  %s: %s\n", d.File, d.Detail)
	}
	if len(r.Actions) > 0 {
		fmt.Fprintf(&b, "to do:\n")
		for _, s := range r.Actions {
			fmt.Fprintf(&b, "  %s\n", s)
		}
		fmt.Fprintf(&b, "kept: %s keys; lost: %s keys in runs, beside what can't be counted\n",
			humanize.Comma(int64(r.Kept)), humanize.Comma(int64(r.Lost)))
	}
	for _, g := range r.Gaps {
		end := "now"
		if !g.End.IsZero() {
			end = moment(g.End)
		}
		fmt.Fprintf(&b, "gap: generation %d, %s to %s: %s\n", g.Generation, moment(g.Start), end, g.Reason)
	}
	switch {
	case len(r.Gaps) > 0 && r.Accepted:
		fmt.Fprintf(&b, "Keys marked in a gap may pass once more; that is accepted.\n")
	case len(r.Gaps) > 0:
		fmt.Fprintf(&b, "Keys marked in a gap can't be told from new ones: only OnGap: Report opens the directory, unless --accept is given.\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}
