package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/firstseen/firstseen/bench"
)

// filled is what the child says when every message was acknowledged.
const filled = "filled"

// killFilled is bench.Config.Kill: it fills c.Dir in another process and kills
// that without a warning.
func killFilled(ctx context.Context, c bench.Config) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "fill", "--target", c.Candidate.Name, "--workload", c.Workload.String(),
		"--keys", strconv.FormatUint(c.Keys, 10), "--window", strconv.FormatUint(c.Window, 10), "--batch", strconv.Itoa(c.Batch),
		"--goroutines", strconv.Itoa(c.Callers), "--seed", strconv.FormatUint(c.Seed, 10), "--dir", c.Dir)
	var said strings.Builder
	cmd.Stderr = &said
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the process that is to be killed: %w", err)
	}
	line, readErr := bufio.NewReader(stdout).ReadString('\n')
	killErr := cmd.Process.Kill()
	_ = cmd.Wait() // it was killed, and says so
	if strings.TrimSpace(line) != filled {
		return fmt.Errorf("the process that was to be killed failed before: %s (%w)", firstLine(said.String()), errors.Join(readErr, ctx.Err()))
	}
	return killErr
}

// firstLine leaves a stack trace out of a report.
func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// newFill is the child's side.
func newFill() *cobra.Command {
	var c bench.Config
	var target, workload string
	command := &cobra.Command{
		Use: "fill", Short: "Fill a directory and wait to be killed", Hidden: true, Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			found, err := chooseTargets([]string{target}, nil)
			if err != nil || len(found) != 1 {
				return fmt.Errorf("%w: %w", errUsage, errors.Join(err, errors.New("--target names one target")))
			}
			if c.Workload, err = bench.ParseWorkload(workload); err != nil {
				return fmt.Errorf("%w: %w", errUsage, err)
			}
			c.Candidate = found[0]
			if _, err := bench.Fill(command.Context(), c); err != nil {
				return err
			}
			fmt.Fprintln(command.OutOrStdout(), filled)
			// The parent holds the other end: this returns only if it died.
			_, err = io.Copy(io.Discard, os.Stdin)
			return err
		},
	}
	flags := command.Flags()
	flags.StringVar(&target, "target", "", "")
	flags.StringVar(&workload, "workload", "segment", "")
	flags.Uint64Var(&c.Keys, "keys", 0, "")
	flags.Uint64Var(&c.Window, "window", 0, "")
	flags.IntVar(&c.Batch, "batch", 0, "")
	flags.IntVar(&c.Callers, "goroutines", 0, "")
	flags.Uint64Var(&c.Seed, "seed", 0, "")
	flags.StringVar(&c.Dir, "dir", "", "")
	return command
}
