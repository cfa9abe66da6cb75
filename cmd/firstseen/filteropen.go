package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/firstseen/firstseen/engine"
)

// runFilter opens everything, lets the filter run, and puts things in order
// after it, whatever happened.
func runFilter(ctx context.Context, a *app, o filterFlags, paths []string) (err error) {
	start := time.Now()
	inputs, err := a.findInputs(paths)
	if err != nil {
		return err
	}
	// What is marked now is written by no later run.
	if err := a.requireOutput(); err != nil {
		return err
	}
	if err := checkLoops(inputs, a.out, o.duplicates); err != nil {
		return err
	}
	if o.stats && isClosed(a.err) {
		return errors.New("standard error, where --stats goes, is closed")
	}
	var heads *headers
	if o.header {
		heads = &headers{}
		if err := checkHeaders(inputs, o.key.Key); err != nil {
			return err
		}
	}
	guard, done, err := openFilter(ctx, a, o, inputs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()

	f := &filter{guard: guard, rate: guard.wrongRate, missing: o.missing.value, observe: o.observe, warn: a.err}
	closeOutputs, err := f.openOutputs(a, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeOutputs()) }()
	if o.top > 0 {
		f.repeats = newRepeats(o.top, o.key.Key)
	}
	bar := newProgress(a, totalSize(inputs))
	f.progress = bar.add
	err = f.run(ctx, feed(ctx, inputs, o.key.Key, heads))
	bar.finish()
	if f.stats.Records > 0 && f.stats.Missing == f.stats.Records {
		fmt.Fprintf(a.err, "firstseen: warning: no record had the key %s (the last one: %v); is it right?\n", o.key, f.lacking)
	}
	if f.brokenPipe(err) {
		err = nil // the reader has what it wanted (head)
	}
	return errors.Join(err, f.tell(a, o, start))
}

// tell prints what was asked for beside the records: with --stats one line of JSON, the
// most repeated keys in it.
func (f *filter) tell(a *app, o filterFlags, start time.Time) error {
	var rate float64
	if o.approx {
		rate = f.rate()
	}
	if !o.stats {
		var err error
		if o.approx {
			_, err = fmt.Fprintf(a.err, "firstseen: of new records %.2g %% are now taken for duplicates\n", 100*rate)
		}
		if f.repeats != nil && err == nil {
			err = f.repeats.table(a.err)
		}
		return err
	}
	f.stats.Wrong = rate
	if f.repeats != nil {
		f.stats.Top = f.repeats.top()
	}
	f.stats.Seconds = time.Since(start).Seconds()
	line, err := json.Marshal(f.stats)
	if err == nil {
		_, err = fmt.Fprintf(a.err, "%s\n", line)
	}
	return err
}

// openOutputs sets where records go. It comes after the engine: a directory in use
// must not cost the file of the last run.
func (f *filter) openOutputs(a *app, o filterFlags) (closeThem func() error, err error) {
	closeThem = func() error { return nil }
	end, sync := o.key.Format().End(), o.sync.value == "always"
	f.out = newOutput("standard output", a.out, end, sync)
	switch o.duplicates {
	case "":
	case "-":
		f.out, f.dup = newOutput("nothing", nil, end, false), f.out
	default:
		flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
		if o.append {
			flags = os.O_RDWR | os.O_CREATE | os.O_APPEND
		}
		file, err := os.OpenFile(o.duplicates, flags, 0o666)
		if err != nil {
			return closeThem, fmt.Errorf("the file for duplicates can't be made: %w", err)
		}
		f.dup, closeThem = newOutput(o.duplicates, file, end, sync), file.Close
		if o.append {
			return closeThem, f.dup.follow()
		}
	}
	return closeThem, nil
}

// openFilter opens the engine and returns what marks keys in it, with what has to be
// done at the end.
func openFilter(ctx context.Context, a *app, o filterFlags, inputs []*input) (marker, func() error, error) {
	if o.store != "" {
		g, done, err := openStore(ctx, a, o)
		return &sharing{guard: g}, done, err
	}
	if o.dir == "" {
		return openTemporary(a, o, inputs)
	}
	fresh, err := isNew(o.dir)
	if err != nil {
		return nil, nil, err
	}
	opts, err := directoryOptions(ctx, o, fresh)
	if err != nil {
		return nil, nil, err
	}
	if !o.force {
		if err := checkKind(o.dir, o.key.Key); err != nil {
			return nil, nil, err
		}
	}
	o.tune(a, &opts, o.dir, fresh, inputs)
	e, err := engine.Open(o.dir, opts)
	if err != nil {
		return nil, nil, explain(err, o.dir)
	}
	if err := noteKind(o.dir, o.key.Key); err != nil {
		return nil, nil, errors.Join(err, e.Close())
	}
	server := serveAsk(o.dir, e)
	return &claiming{claimer: e}, func() error {
		server.close(o.dir)
		return explain(e.Close(), o.dir)
	}, nil
}

// openTemporary opens an engine whose keys end with the run. It is never closed:
// that would write what nobody reads again. The process ends it.
func openTemporary(a *app, o filterFlags, inputs []*input) (marker, func() error, error) {
	temp, err := a.makeTemp()
	if err != nil {
		return nil, nil, err
	}
	opts := engine.Options{Window: time.Duration(o.window), Temporary: true}
	if o.approx {
		opts.Mode, opts.Filter = engine.Approximate, approximateFilter
		// All keys come at once, within one generation: the fewer there are the larger
		// is the share of the filters that one has.
		opts.Generations = 3
	}
	o.tune(a, &opts, temp.path, true, inputs)
	quiet := &quietable{Writer: a.err}
	opts.Logger = newLogger(quiet)
	e, err := engine.Open(temp.engine(), opts)
	if err != nil {
		return nil, nil, errors.Join(explain(err, temp.engine()), temp.remove())
	}
	return admitting{e}, func() error {
		quiet.off.Store(true) // its directory goes under its feet
		return temp.remove()
	}, nil
}

// directoryOptions are the engine's options for --dir: an existing directory stays
// as it is, but for what the flags say.
func directoryOptions(ctx context.Context, o filterFlags, fresh bool) (_ engine.Options, err error) {
	opts := engine.Options{Window: time.Duration(o.window)}
	if o.approx {
		opts.Mode, opts.Filter = engine.Approximate, approximateFilter
	}
	if fresh {
		return opts, nil
	}
	if opts, err = existingOptions(ctx, o.dir); err != nil {
		return opts, err
	}
	switch {
	case opts.Mode == engine.Approximate && !o.approx:
		return opts, fmt.Errorf("directory %q was made with --approximate, which can call new records duplicates; say so again, or name another", o.dir)
	case opts.Mode == engine.Exact && o.approx:
		return opts, fmt.Errorf("directory %q was made without --approximate and keeps its keys; leave the option out, or name another", o.dir)
	}
	if o.windowSet {
		opts.Window = time.Duration(o.window)
	}
	return opts, nil
}

// maxReserve is the space that is left free on a disk which is large enough.
const maxReserve = 256 << 20

// tune sets what changes no answer. fresh says that the directory is made by this run.
func (o *filterFlags) tune(a *app, opts *engine.Options, dir string, fresh bool, inputs []*input) {
	opts.Lease, opts.Refresh = claimLease, o.refresh
	opts.Logger = a.logger()
	switch o.sync.value {
	case "interval":
		opts.Sync = engine.SyncInterval
	case "none":
		opts.Sync = engine.SyncNone
	}
	switch {
	case o.minFreeSet && o.minFree == 0:
		opts.MinFreeDisk = -1
	case o.minFreeSet:
		opts.MinFreeDisk = int64(o.minFree)
	default:
		if size := diskSize(existingParent(dir)); size > 0 {
			opts.MinFreeDisk = min(maxReserve, max(1, size/20))
		}
	}
	opts.Capacity, opts.KeyBytes = o.capacity, o.keyBytes
	records, keyBytes := guess(inputs, o.key.Key)
	memory := o.memory
	if memory == 0 && !o.approx { // filters alone have no choice of size
		memory = usualFilterMemory(records)
		if o.dir != "" {
			memory += claimMemory
		}
	}
	memory.apply(opts)
	if o.dir != "" && !fresh || records == 0 {
		return // what the directory has seen says more than one input
	}
	if opts.Capacity == 0 && (o.dir == "" || opts.Mode == engine.Exact) {
		opts.Capacity = records
		if o.approx {
			opts.Capacity *= 2 // one of two generations that a window has
		}
	}
	if opts.KeyBytes == 0 {
		opts.KeyBytes = keyBytes
	}
}
