package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/engine"
	"github.com/firstseen/firstseen/engine/inspect"
)

// claimLease outlives every batch. Nobody else can want the keys, since the
// directory is ours alone and claims end with the process; but a reader that
// stops for hours (a pager) must not cost us the claims of the batch that waits
// for it.
const claimLease = 365 * 24 * time.Hour

// requireDir refuses what can't be a directory of ours, so that a mistyped name
// is never made into an empty one.
func requireDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("directory %q does not exist; check the name ('firstseen filter --dir' makes one)", dir)
	case err != nil:
		return fmt.Errorf("directory %q can't be read: %w", dir, err)
	case !info.IsDir():
		return fmt.Errorf("%q is no directory; give the one that --dir names", dir)
	}
	return nil
}

// isNew reports whether the engine would make dir anew: it does not exist, is
// empty, or a run ended before it was made. One that holds other files is
// refused, since the engine would put its own among them.
func isNew(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("directory %q can't be read: %w; give --dir another name", dir, err)
	}
	foreign := ""
	for _, entry := range entries {
		switch name := strings.TrimSuffix(entry.Name(), ".tmp"); name {
		case "CREATING": // goes when the directory is made
			return true, nil
		case "IDENTITY", "MANIFEST", "journal": // made, whole or not: the engine is to judge
			return false, nil
		case "LOCK": // comes first of all
		case "lost+found": // every new file system holds one
		default:
			foreign = name
		}
	}
	if foreign != "" {
		return false, fmt.Errorf("directory %q holds other files, such as %s; give --dir the name of an empty or new one", dir, foreign)
	}
	return true, nil
}

// approximateFilter is the kind of filter of an approximate directory: the one that
// takes fewer bits for a rate.
const approximateFilter = bloom.Compact

// existingOptions are the options that an existing directory has to be opened
// with to stay as it is.
func existingOptions(ctx context.Context, dir string) (engine.Options, error) {
	in, err := inspect.Inspect(ctx, dir)
	if err != nil {
		return engine.Options{}, explain(err, dir)
	}
	opts := engine.Options{Window: in.Window, Shards: in.Shards, UntrustedKeys: in.UntrustedKeys}
	if in.Mode == "approximate" {
		opts.Mode, opts.Filter = engine.Approximate, approximateFilter
	}
	if in.Span > 0 {
		// Span is Window / (Generations-1), rounded down.
		opts.Generations = int((in.Window+in.Span/2)/in.Span) + 1
	}
	return opts, nil
}

// openExisting opens a directory that must be there.
func openExisting(ctx context.Context, a *app, dir string) (*engine.Engine, error) {
	if err := requireDir(dir); err != nil {
		return nil, err
	}
	opts, err := existingOptions(ctx, dir)
	if err != nil {
		return nil, err
	}
	opts.Logger = a.logger()
	e, err := engine.Open(dir, opts)
	return e, explain(err, dir)
}

// logger tells the operator what the engine finds worth a warning.
func (a *app) logger() *slog.Logger { return newLogger(a.err) }

func newLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// A quietable writer can be told to write nothing more.
type quietable struct {
	io.Writer
	off atomic.Bool
}

func (q *quietable) Write(b []byte) (int, error) {
	if q.off.Load() {
		return len(b), nil
	}
	return q.Writer.Write(b)
}
