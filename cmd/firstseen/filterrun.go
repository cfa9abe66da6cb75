package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/record"
)

// filterStats counts records whose batch is done. Records is the sum of the
// next three.
type filterStats struct {
	Records    uint64  `json:"records"`
	Fresh      uint64  `json:"fresh"`
	Duplicates uint64  `json:"duplicates"`
	Missing    uint64  `json:"missing"`
	Bytes      uint64  `json:"bytes"` // of input
	Seconds    float64 `json:"seconds"`

	// Wrong is the rate at which new keys are taken for duplicates with --approximate.
	Wrong float64 `json:"wrong_rate,omitempty"`
	// Top is what --top asks for, else nothing.
	Top []repeated `json:"top,omitempty"`
}

// A filter takes batches to their end: claim, write, flush, commit.
type filter struct {
	guard    marker
	out, dup *output // dup is nil when nobody wants duplicates
	missing  string  // pass, drop or fail
	observe  bool
	warn     io.Writer
	progress func(bytes int) // told of every batch that is done, in bytes of the input's file
	verdicts []dedup.Verdict
	stats    filterStats

	rate    func() float64
	repeats *repeats // nil: nobody asks for them
	lacking error    // why the last record that has no key has none

	toldBOM, toldNested bool
}

// run processes batches until the input or ctx ends; the batch in hand is always
// finished.
func (f *filter) run(ctx context.Context, feed *feeder) error {
	for {
		var b *batch
		var more bool
		select {
		case <-ctx.Done():
			return ctx.Err()
		case b, more = <-feed.full:
		}
		if ctx.Err() != nil { // both were ready
			return ctx.Err()
		}
		if !more {
			return nil
		}
		err := f.process(b)
		if err == nil {
			err = b.err
		}
		if err != nil {
			return err
		}
		feed.free <- b // has room for all batches there are
	}
}

// process writes the fresh records of b and marks their keys.
func (f *filter) process(b *batch) error {
	stop := f.checkMissing(b)
	f.writeBOM(b)
	f.writeHeader(b)
	if len(b.ends) == 0 {
		f.progress(int(b.read))
		return errors.Join(f.flush(), stop)
	}
	// A signal must not tear the batch apart, so its context is none that ends.
	ctx := context.Background()
	var err error
	if f.verdicts, err = f.guard.decide(ctx, f.verdicts[:0], b.keys); err == nil {
		err = f.checkVerdicts(b)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s, after record %d: the keys can't be looked up: %w", b.from, b.first-1, err), f.guard.release(ctx))
	}
	count := f.write(b)
	if err = f.flush(); err != nil {
		return errors.Join(err, f.guard.release(ctx))
	}
	if err = f.guard.commit(ctx); err != nil {
		return fmt.Errorf("%s: records %d to %d are written but can't be remembered, the next run writes them again: %w",
			b.from, b.first, b.first+uint64(len(b.ends))-1, err)
	}
	f.stats.Records += count.Records
	f.stats.Fresh += count.Fresh
	f.stats.Duplicates += count.Duplicates
	f.stats.Missing += count.Missing
	f.stats.Bytes += count.Bytes
	if b.lacking != nil {
		f.lacking = b.lacking
	}
	f.progress(int(b.read))
	return stop
}

// checkMissing cuts b before the first record without a key when that is to end
// the run, and gives a warning where the input is damaged.
func (f *filter) checkMissing(b *batch) error {
	if f.missing == "fail" {
		for i, k := range b.keyOf {
			if k == noKey {
				at := b.first + uint64(i)
				b.cut(i)
				return fmt.Errorf("%s: record %d has no key: %w; the records before it are done (--missing pass or drop goes on)", b.from, at, b.lacking)
			}
		}
	}
	if b.unclosed {
		fmt.Fprintf(f.warn, "firstseen: warning: %s: record %d, the last one, opens a quote that does not close; it counts as a record without a key\n",
			b.from, b.first+uint64(len(b.ends))-1)
	}
	if b.hasNested && !f.toldNested {
		f.toldNested = true
		fmt.Fprintf(f.warn, "firstseen: warning: %s: record %d counts as one without a key: %v; others like it are not named\n",
			b.from, b.first+uint64(b.nested), record.ErrNested)
	}
	return nil
}

// checkVerdicts makes sure that every key has an answer that one can act on.
func (f *filter) checkVerdicts(b *batch) error {
	if len(f.verdicts) != len(b.keys) {
		return fmt.Errorf("%d answers for %d keys", len(f.verdicts), len(b.keys))
	}
	for _, v := range f.verdicts {
		if v == dedup.Unknown {
			return errors.New("a part of the window is lost, so nothing can be said of a key")
		}
	}
	return nil
}

// writeBOM has both outputs begin as the first input does.
func (f *filter) writeBOM(b *batch) {
	if !b.bom || f.toldBOM {
		return
	}
	f.toldBOM = true
	f.out.bom = true
	if f.dup != nil {
		f.dup.bom = !f.dup.follows
	}
}

// writeHeader buffers a header for both outputs.
func (f *filter) writeHeader(b *batch) {
	if b.headerLen == 0 {
		return
	}
	f.out.write(b.header)
	if f.dup != nil && !f.dup.follows {
		f.dup.write(b.header)
	}
	f.stats.Bytes += uint64(b.headerLen)
}

// write buffers the records of b where they belong and counts them. Records
// that stay together are written together.
func (f *filter) write(b *batch) filterStats {
	count := filterStats{Records: uint64(len(b.ends)), Bytes: uint64(len(b.data))}
	from := 0 // first byte of b.data that is to be written and is not
	for i, end := range b.ends {
		start := b.start(i)
		keep := f.observe
		switch k := b.keyOf[i]; {
		case k == noKey:
			count.Missing++
			keep = keep || f.missing == "pass"
		case f.verdicts[k] == dedup.Fresh:
			count.Fresh++
			keep = true
		default:
			// InFlight too: the directory is ours alone and earlier batches are
			// committed, so the claim belongs to an earlier record of this batch.
			count.Duplicates++
			if f.repeats != nil {
				f.repeats.Add(b.keys[k])
			}
			if f.dup != nil {
				f.dup.write(b.data[start:end])
			}
		}
		if !keep {
			f.out.write(b.data[from:start])
			from = end
		}
	}
	f.out.write(b.data[from:])
	return count
}

func (f *filter) flush() error {
	if f.dup != nil {
		if err := f.dup.flush(); err != nil {
			return err
		}
	}
	return f.out.flush()
}

// brokenPipe reports whether err says that nobody reads what the command writes.
func (f *filter) brokenPipe(err error) bool {
	return f.out.broken(err) || f.dup != nil && f.dup.broken(err)
}
