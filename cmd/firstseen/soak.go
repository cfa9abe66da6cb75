package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/firstseen/firstseen/internal/soak"
)

// soakChild is the hidden command that the soak test starts and kills.
const soakChild = "soak-child"

func newSoak(a *app) *cobra.Command {
	var asJSON bool
	length, window := windowFlag(10*time.Minute), windowFlag(20*time.Second)
	rate, seed, dir := 200_000, uint64(0), ""
	cmd := &cobra.Command{
		Use:   "soak",
		Short: "Try the engine on this machine, with kills and damage",
		Long: `Runs an engine in a process of its own under load: writers, readers, rotations.
It kills and stops that process, lets it close in order, damages its caches and
starts it again, and checks every verdict all the time. At the end it prints what
happened, and how memory and disk went. The exit code is 1 when a promise was
broken; then the directory is kept.`,
		Example: `  firstseen soak --for 10m
  firstseen soak --for 8h --rate 1000000 --json > soak.json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			temp, err := os.MkdirTemp(dir, "firstseen-soak-")
			if err != nil {
				return fmt.Errorf("no room to work in: %w", err)
			}
			if seed == 0 {
				seed = rand.Uint64()
			}
			told := time.Now()
			r, err := soak.Run(cmd.Context(), soak.Config{
				Dir: filepath.Join(temp, "seen"), For: time.Duration(length), Window: time.Duration(window), Rate: rate, Seed: seed,
				Command: func(arg string) *exec.Cmd { return exec.Command(self, soakChild, arg) },
				Tell: func(line string) {
					if time.Since(told) > 10*time.Second {
						told = time.Now()
						fmt.Fprintln(a.err, line)
					}
				},
			})
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(a.out, r)
			} else {
				err = printSoak(a.out, r)
			}
			if err != nil {
				return err
			}
			if !r.Sound() {
				return &exitError{code: exitFailed, err: fmt.Errorf("a promise was broken; the directory is kept in %s", temp)}
			}
			return os.RemoveAll(temp)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().Var(&length, "for", "how long")
	cmd.Flags().Var(&window, "window", "of the engine; short, so that many pass")
	cmd.Flags().IntVar(&rate, "rate", rate, "new keys per second")
	cmd.Flags().Uint64Var(&seed, "seed", 0, "of the bad luck; 0: a new one")
	cmd.Flags().StringVar(&dir, "in", "", "directory to work in (default the temporary one)")
	return cmd
}

func newSoakChild(a *app) *cobra.Command {
	return &cobra.Command{
		Use: soakChild, Hidden: true, Args: exactly("RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			// A signal ends the context; the engine is closed then.
			return soak.Child(cmd.Context(), args[0], a.in, a.out)
		},
	}
}

// printSoak writes the table for people.
func printSoak(out io.Writer, r soak.Report) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	n := func(v uint64) string { return humanize.Comma(int64(v)) }
	line("ran", "%s, seed %d", r.For.Round(time.Second), r.Seed)
	line("lives", "%d: %d kills, %d orderly closes, %d stops, %d damaged snapshots", r.Lives, r.Kills, r.Closes, r.Stops, r.Damages)
	line("work", "%s rotations, %s flushes, %s keys replayed", n(r.Rotations), n(r.Flushes), n(r.Replayed))
	line("keys", "%s acknowledged, %s looked up again", n(r.Keys), n(r.Checked))
	line("missed", "%d", r.Missed)
	line("wrong", "%d", r.Wrong)
	line("errors", "%d", len(r.Errors))
	line("memory", "%s in the first half, %s in the second, %s at most", size(r.MemoryEarly), size(r.MemoryLate), size(r.MemoryMax))
	line("disk", "%s in the first half, %s in the second, %s at most", size(r.DiskEarly), size(r.DiskLate), size(r.DiskMax))
	if err := w.Flush(); err != nil {
		return err
	}
	for _, e := range r.Errors {
		if _, err := fmt.Fprintln(out, " ", e); err != nil {
			return err
		}
	}
	return nil
}
