package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/firstseen/firstseen/engine/inspect"
)

func newInspect(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect DIR",
		Short: "Show what a directory holds",
		Long: `Shows the window that DIR holds, its generations with their keys, bytes and
filters, and its journal. It changes no mark. The directory must not be in use.`,
		Example:           `  firstseen inspect seen`,
		Args:              exactly("DIR"),
		ValidArgsFunction: completeDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(a.requireOutput(), requireDir(args[0])); err != nil {
				return err
			}
			in, err := inspect.Inspect(cmd.Context(), args[0])
			if err != nil {
				return explain(err, args[0])
			}
			if asJSON {
				return printJSON(a.out, in)
			}
			return printInspection(a.out, in)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printInspection writes the view for people.
func printInspection(out io.Writer, in inspect.Inspection) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	line("directory", "%s", in.Dir)
	line("format", "%d, made %s, %s, %d shards%s", in.FormatVersion, moment(in.Created), in.Mode, in.Shards, hashed(in.UntrustedKeys))
	line("window", "%s asked, %s held, in generations of %s", duration(in.Window), duration(in.Held.Round(time.Second)), duration(in.Span.Round(time.Second)))
	line("clock", "%s", moment(in.Clock))
	closed := "in order"
	if !in.Clean {
		closed = "not in order; the next opening replays the journal"
	}
	line("closed", "%s", closed)
	line("keys", "%s", humanize.Comma(int64(in.Keys)))
	line("disk", "%s", size(in.Bytes))
	line("journal", "%s of %s in use, %s keys to replay", size(in.Journal.UsedBytes), size(in.Journal.RingBytes), humanize.Comma(int64(in.JournalKeys)))
	if err := w.Flush(); err != nil {
		return err
	}

	fmt.Fprintln(out)
	w = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "GENERATION\tFROM\tTO\tKEYS\tRUNS\tBYTES\tSNAPSHOT\tFILTER FILL")
	for _, g := range in.Generations {
		end := "now"
		if !g.End.IsZero() {
			end = moment(g.End)
		}
		snapshot := "no"
		if g.Snapshot {
			snapshot = "yes"
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", g.Number, moment(g.Start), end,
			humanize.Comma(int64(g.Keys)), g.Runs, size(g.Bytes), snapshot, fillBar(g.Fill))
	}
	if err := w.Flush(); err != nil || len(in.Results) == 0 {
		return err
	}

	fmt.Fprintln(out)
	w = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "RESULTS OF\tIN\tRECORDS\tWHOLE")
	for _, r := range in.Results {
		whole := "yes"
		if r.Lost {
			whole = "no, some are lost"
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", r.Generation, r.Dir, humanize.Comma(int64(r.Records)), whole)
	}
	return w.Flush()
}

// fillBar draws the share of a filter's bits that are set: the fuller, the more
// keys have to be looked up on disk.
func fillBar(fill float64) string {
	const width = 10
	n := int(math.Round(max(0, min(1, fill)) * width))
	return fmt.Sprintf("[%s%s] %.1f %%", strings.Repeat("#", n), strings.Repeat(".", width-n), 100*fill)
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

func size(bytes int64) string { return humanize.IBytes(uint64(max(0, bytes))) }

func hashed(untrusted bool) string {
	if untrusted {
		return ", keyed hash"
	}
	return ""
}
