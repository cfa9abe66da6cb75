package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/firstseen/firstseen/engine"
)

const filterLong = `Reads records from the files, or from standard input, and writes those whose key
is seen for the first time within the window: in order, byte for byte.

KEY is one of
  line        the whole line (the default), a carriage return included
  json:PATH   lines are JSON documents, PATH leads to the key: user.id, items.0.sku
              (gjson's syntax). Strings count by their text, all else as written:
              1 and "1" are the same key, 1 and 1.0 are not
  csv:N       column N, from 1; quoted fields may hold commas and line breaks
  tsv:N       column N of tab-separated lines, without quoting

A record has no key when its line is no valid JSON, or when the field is absent,
null or empty. --missing says what becomes of it. An empty line is a line like
any other.

With --dir the keys are remembered from run to run. Records are written before
their keys are marked, so that a run which is killed and started again loses none
and repeats at most its last batch. Without --dir the keys live in a temporary
directory as long as the command runs.

With --header the first record of each input is a header, which has no key. The first
one is written, to --duplicates too, by every run; the others must be the same.

A last line without a line end is written without one. When another input
follows it, a line end comes between them.`

// filterFlags are the command line of filter.
type filterFlags struct {
	key        keyFlag
	dir        string
	window     windowFlag
	windowSet  bool // given, not the default
	duplicates string
	header     bool
	observe    bool
	missing    choice
	stats      bool
	capacity   uint64
	keyBytes   int
	sync       choice
}

func newFilter(a *app) *cobra.Command {
	o := filterFlags{
		window:  windowFlag(24 * time.Hour),
		missing: choice{value: "pass", words: []string{"pass", "drop", "fail"}},
		sync:    choice{value: "", words: []string{"always", "interval", "none"}},
	}
	cmd := &cobra.Command{
		Use:   "filter [FILE...]",
		Short: "Write the records whose key is seen for the first time",
		Long:  filterLong,
		Example: `  firstseen filter < words.txt > distinct.txt
  firstseen filter --key json:event.id --dir seen --window 7d events-*.jsonl
  firstseen filter --key csv:1 --header --duplicates again.csv --stats orders.csv > once.csv`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.windowSet = cmd.Flags().Changed("window")
			return runFilter(cmd.Context(), a, o, args)
		},
	}
	f := cmd.Flags()
	f.Var(&o.key, "key", "where a record's key is: line, json:PATH, csv:N or tsv:N")
	f.StringVar(&o.dir, "dir", "", "`DIR` that remembers the keys from run to run; made when it does not exist")
	f.Var(&o.window, "window", "how long a key is remembered, such as 90m or 7d; an existing DIR keeps its own when this is not given")
	f.StringVar(&o.duplicates, "duplicates", "", "write the duplicates to `FILE`, which is replaced")
	f.BoolVar(&o.header, "header", false, "the first record of each input is a header: write the first one, without a key")
	f.BoolVar(&o.observe, "observe", false, "write every record, and only count")
	f.Var(&o.missing, "missing", "what to do with a record that has no key")
	f.BoolVar(&o.stats, "stats", false, "print counts as one line of JSON on standard error at the end")
	f.Uint64Var(&o.capacity, "capacity", 0, "keys expected within the window; a hint, more is no harm (default 1000000)")
	f.IntVar(&o.keyBytes, "key-bytes", 0, "usual length of a key in bytes; a hint, for a DIR that is made (default 16)")
	f.Var(&o.sync, "sync", "what a power failure may take: nothing, the last moment, or more (default always with --dir, else none)")
	_ = cmd.MarkFlagDirname("dir")
	_ = cmd.MarkFlagFilename("duplicates")
	for name, words := range map[string][]string{
		"missing": o.missing.words, "sync": o.sync.words, "key": {"line", "json:", "csv:", "tsv:"},
	} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	return cmd
}

// runFilter opens everything, lets the filter run, and puts things in order
// after it, whatever happened.
func runFilter(ctx context.Context, a *app, o filterFlags, paths []string) (err error) {
	start := time.Now()
	if o.sync.value == "" {
		o.sync.value = "always"
		if o.dir == "" {
			o.sync.value = "none" // nothing outlives the run
		}
	}
	inputs, err := findInputs(a.in, paths)
	if err != nil {
		return err
	}
	if err := checkLoops(inputs, a.out, o.duplicates); err != nil {
		return err
	}
	var heads *headers
	if o.header {
		heads = &headers{}
		if err := checkHeaders(inputs, o.key.Key); err != nil {
			return err
		}
	}
	e, done, err := openFilter(ctx, a, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()

	f := &filter{guard: e, missing: o.missing.value, observe: o.observe, warn: a.err}
	f.out = newOutput("standard output", a.out, o.sync.value == "always")
	if o.duplicates != "" {
		// Only now: a directory in use must not cost the file of the last run.
		file, err := os.Create(o.duplicates)
		if err != nil {
			return fmt.Errorf("the file for duplicates can't be made: %w", err)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		f.dup = newOutput(o.duplicates, file, o.sync.value == "always")
	}
	bar := newProgress(a, totalSize(inputs))
	f.progress = bar.add
	err = f.run(ctx, feed(ctx, inputs, o.key.Key, heads))
	bar.finish()
	if o.stats {
		f.stats.Seconds = time.Since(start).Seconds()
		line, _ := json.Marshal(f.stats)
		fmt.Fprintf(a.err, "%s\n", line)
	}
	if f.out.broken(err) {
		return nil // the reader has what it wanted (head)
	}
	return err
}

// openFilter opens the engine and returns it with what has to be done at the
// end.
func openFilter(ctx context.Context, a *app, o filterFlags) (*engine.Engine, func() error, error) {
	dir, isTemp := o.dir, o.dir == ""
	if isTemp {
		var err error
		if dir, err = os.MkdirTemp("", "firstseen-"); err != nil {
			return nil, nil, fmt.Errorf("no temporary directory: %w; name one with --dir, or set TMPDIR", err)
		}
		a.temp.Store(&dir)
	}
	remove := func() error {
		if !isTemp {
			return nil
		}
		return os.RemoveAll(dir)
	}
	opts, err := filterOptions(ctx, a, o, dir)
	if err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	e, err := engine.Open(dir, opts)
	if err != nil {
		return nil, nil, errors.Join(explain(err, dir), remove())
	}
	return e, func() error { return errors.Join(explain(e.Close(), dir), remove()) }, nil
}

// filterOptions are the engine's options for the flags: an existing directory
// stays as it is, but for what the flags say.
func filterOptions(ctx context.Context, a *app, o filterFlags, dir string) (engine.Options, error) {
	fresh, err := isNew(dir)
	if err != nil {
		return engine.Options{}, err
	}
	opts := engine.Options{Window: time.Duration(o.window)}
	if !fresh {
		if opts, err = existingOptions(ctx, dir); err != nil {
			return opts, err
		}
		if opts.Mode != engine.Exact {
			return opts, fmt.Errorf("directory %q was made in approximate mode, which can call new records duplicates; filter needs an exact one, so name another", dir)
		}
		if o.windowSet {
			opts.Window = time.Duration(o.window)
		}
	}
	opts.Capacity, opts.KeyBytes = o.capacity, o.keyBytes
	opts.Lease = claimLease
	opts.Logger = a.logger()
	switch o.sync.value {
	case "interval":
		opts.Sync = engine.SyncInterval
	case "none":
		opts.Sync = engine.SyncNone
	}
	return opts, nil
}
