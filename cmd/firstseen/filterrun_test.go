package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
	"github.com/firstseen/firstseen/internal/record"
)

// memory is a claimer that keeps all in a map and can be told to fail.
type memory struct {
	marked             map[string]bool
	claimErr, commErr  error
	unknown            string // the key that nothing is known of
	committed, release int    // calls
}

func (m *memory) ClaimBatch(_ context.Context, cs []dedup.Claim, keys [][]byte) ([]dedup.Claim, error) {
	if m.claimErr != nil {
		return cs, m.claimErr
	}
	claimed := map[string]bool{}
	for _, k := range keys {
		c := dedup.Claim{Key: k, Verdict: dedup.Fresh}
		switch {
		case m.unknown == string(k):
			c.Verdict = dedup.Unknown
		case m.marked[string(k)]:
			c.Verdict = dedup.Duplicate
		case claimed[string(k)]:
			c.Verdict = dedup.InFlight
		}
		claimed[string(k)] = true
		cs = append(cs, c)
	}
	return cs, nil
}

func (m *memory) Commit(_ context.Context, cs ...dedup.Claim) error {
	m.committed++
	if m.commErr != nil {
		return m.commErr
	}
	if m.marked == nil {
		m.marked = map[string]bool{}
	}
	for _, c := range cs {
		if c.Verdict == dedup.Fresh {
			m.marked[string(c.Key)] = true
		}
	}
	return nil
}

func (m *memory) Stats() engine.Stats { return engine.Stats{} }

func (m *memory) Release(context.Context, ...dedup.Claim) error {
	m.release++
	return nil
}

// bench holds a filter that writes to files.
type filterBench struct {
	*filter
	mem       *memory
	warnings  bytes.Buffer
	out, dups *os.File
	headers   *headers
}

func newFilterBench(t *testing.T) *filterBench {
	t.Helper()
	create := func(name string) *os.File {
		file, err := os.Create(filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		return file
	}
	b := &filterBench{mem: &memory{}, out: create("out"), dups: create("dups")}
	b.filter = &filter{
		guard: &claiming{claimer: b.mem}, missing: "pass", warn: &b.warnings, progress: func(int) {},
		out: newOutput("out", b.out, '\n', true), dup: newOutput("dups", b.dups, '\n', true),
	}
	return b
}

// run filters inputs, each a file's content.
func (b *filterBench) run(t *testing.T, key string, contents ...string) error {
	t.Helper()
	k, err := record.ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, c := range contents {
		paths = append(paths, write(t, []byte(c)))
	}
	inputs, err := (&app{in: os.Stdin}).findInputs(paths)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	return b.filter.run(ctx, feed(ctx, inputs, k, b.headers))
}

func (b *filterBench) want(t *testing.T, out, dups string, stats filterStats) {
	t.Helper()
	for file, want := range map[*os.File]string{b.out: out, b.dups: dups} {
		got, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		same(t, file.Name(), string(got), want)
	}
	if !reflect.DeepEqual(b.stats, stats) {
		t.Fatalf("got %+v, want %+v", b.stats, stats)
	}
}

func TestFilterRecords(t *testing.T) {
	f := func(key, missing string, observe bool, in []string, out, dups string, stats filterStats) {
		t.Helper()
		b := newFilterBench(t)
		b.missing, b.observe = missing, observe
		if err := b.run(t, key, in...); err != nil {
			t.Fatal(err)
		}
		for _, s := range in {
			stats.Bytes += uint64(len(s))
		}
		b.want(t, out, dups, stats)
	}
	f("line", "pass", false, []string{""}, "", "", filterStats{})
	f("line", "pass", false, []string{"a\nb\na\n\n\nb"}, "a\nb\n\n", "a\n\nb", filterStats{Records: 6, Fresh: 3, Duplicates: 3})
	f("line", "pass", true, []string{"a\nb\na\n"}, "a\nb\na\n", "a\n", filterStats{Records: 3, Fresh: 2, Duplicates: 1})
	f("line", "pass", false, []string{"a\nb", "b\nc", "", "d\n"}, "a\nb\nc\nd\n", "b\n", filterStats{Records: 5, Fresh: 4, Duplicates: 1})
	f("line", "pass", false, []string{"a\nb", "a", "b\n"}, "a\nb", "a\nb\n", filterStats{Records: 4, Fresh: 2, Duplicates: 2})
	f("csv:2", "pass", false, []string{"1,x\n2,x\n3,\n4\n5,\"x\"\n"}, "1,x\n3,\n4\n", "2,x\n5,\"x\"\n", filterStats{Records: 5, Fresh: 1, Duplicates: 2, Missing: 2})
	f("csv:2", "drop", false, []string{"1,x\n3,\n4\n5,y"}, "1,x\n5,y", "", filterStats{Records: 4, Fresh: 2, Missing: 2})
	f("csv:2", "drop", true, []string{"1,x\n3,\n4\n5,y"}, "1,x\n3,\n4\n5,y", "", filterStats{Records: 4, Fresh: 2, Missing: 2})
	f("csv:1", "fail", false, []string{"1,x\n1,y\n"}, "1,x\n", "1,y\n", filterStats{Records: 2, Fresh: 1, Duplicates: 1})
}

func TestFilterMissingFails(t *testing.T) {
	b := newFilterBench(t)
	b.missing = "fail"
	err := b.run(t, "tsv:2", "1\tx\n2\tx\n3\n4\ty\n")
	if err == nil || !strings.Contains(err.Error(), "record 3") {
		t.Fatalf("got %v", err)
	}
	b.want(t, "1\tx\n", "2\tx\n", filterStats{Records: 2, Fresh: 1, Duplicates: 1, Bytes: 8})
	if b.mem.committed != 1 || len(b.mem.marked) != 1 {
		t.Fatalf("the records before it are not committed: %+v", b.mem)
	}
	// As the first record of all.
	b = newFilterBench(t)
	b.missing = "fail"
	if err := b.run(t, "tsv:2", "3\n4\ty\n"); err == nil || !strings.Contains(err.Error(), "record 1 ") {
		t.Fatalf("got %v", err)
	}
	b.want(t, "", "", filterStats{})
}

// TestFilterUnclosedQuote: what a stray quote swallowed is never dropped for the
// key in front of it.
func TestFilterUnclosedQuote(t *testing.T) {
	b := newFilterBench(t)
	in := "1,a\n1,\"b\n2,c\n3,d\n"
	if err := b.run(t, "csv:1", in); err != nil {
		t.Fatal(err)
	}
	b.want(t, in, "", filterStats{Records: 2, Fresh: 1, Missing: 1, Bytes: uint64(len(in))})
	if !strings.Contains(b.warnings.String(), "record 2") {
		t.Fatalf("warnings: %q", b.warnings.String())
	}
}

// TestFilterHeader: one header before all records, also of files without records, and
// before the duplicates; another file's has to be the same.
func TestFilterHeader(t *testing.T) {
	f := func(key string, in []string, out, dups, fails string, stats filterStats) {
		t.Helper()
		b := newFilterBench(t)
		b.headers = &headers{}
		err := b.run(t, key, in...)
		if fails == "" && err != nil || fails != "" && (err == nil || !strings.Contains(err.Error(), fails)) {
			t.Fatalf("got the error %v, want one with %q", err, fails)
		}
		b.want(t, out, dups, stats)
	}
	f("csv:1", []string{""}, "", "", "", filterStats{})
	f("csv:1", []string{"id,n\n"}, "id,n\n", "id,n\n", "", filterStats{Bytes: 5})
	f("csv:1", []string{"id,n", "id,n\r\n1,a\n"}, "id,n\n1,a\n", "id,n", "", filterStats{Records: 1, Fresh: 1, Bytes: 14})
	f("csv:1", []string{"id,n\n1,a\n1,b\nid,n\n", "", "id,n\n1,c\n2,d"}, "id,n\n1,a\nid,n\n2,d", "id,n\n1,b\n1,c\n", "",
		filterStats{Records: 5, Fresh: 3, Duplicates: 2, Bytes: 30})
	f("csv:1", []string{"\"i\nd\",n\n1,a\n"}, "\"i\nd\",n\n1,a\n", "\"i\nd\",n\n", "", filterStats{Records: 1, Fresh: 1, Bytes: 12})
	f("line", []string{"a\na\na\n"}, "a\na\n", "a\na\n", "", filterStats{Records: 2, Fresh: 1, Duplicates: 1, Bytes: 6})
	f("csv:1", []string{"id,n\n1,a\n", "id,m\n2,b\n"}, "id,n\n1,a\n", "id,n\n", "its header is not that of", filterStats{Records: 1, Fresh: 1, Bytes: 14})
	f("csv:1", []string{"\"id,n\n1,a\n"}, "", "", "opens a quote", filterStats{Bytes: 10})
	f("csv:9", []string{"id,n\n1,a\n2,b\n"}, "id,n\n1,a\n2,b\n", "id,n\n", "", filterStats{Records: 2, Missing: 2, Bytes: 13})

	b := newFilterBench(t)
	b.headers, b.missing = &headers{}, "fail"
	if err := b.run(t, "tsv:2", "id\tn\n1\tx\n2\n"); err == nil || !strings.Contains(err.Error(), "record 3 has no key") {
		t.Fatalf("got %v, want the third record of the file named", err)
	}
}

// TestFilterManyBatches: order and sums over batches of all sizes.
func TestFilterManyBatches(t *testing.T) {
	var in, out, dups bytes.Buffer
	seen := map[string]bool{}
	for i := range 3*batchRecords + 5 {
		line := strings.Repeat(string(rune('a'+i%26)), i%300) + "\n"
		in.WriteString(line)
		if !seen[line] {
			seen[line] = true
			out.WriteString(line)
		} else {
			dups.WriteString(line)
		}
	}
	b := newFilterBench(t)
	if err := b.run(t, "line", in.String()); err != nil {
		t.Fatal(err)
	}
	fresh := uint64(bytes.Count(out.Bytes(), []byte("\n")))
	b.want(t, out.String(), dups.String(), filterStats{Records: 3*batchRecords + 5, Fresh: fresh, Duplicates: 3*batchRecords + 5 - fresh, Bytes: uint64(in.Len())})
	if b.mem.committed < 4 {
		t.Fatalf("%d batches", b.mem.committed)
	}
}

func TestFilterFailures(t *testing.T) {
	broken := errors.New("broken")
	t.Run("claim", func(t *testing.T) {
		b := newFilterBench(t)
		b.mem.claimErr = broken
		if err := b.run(t, "line", "a\n"); !errors.Is(err, broken) {
			t.Fatalf("got %v", err)
		}
		b.want(t, "", "", filterStats{})
	})
	t.Run("unknown", func(t *testing.T) {
		b := newFilterBench(t)
		b.mem.unknown = "b"
		if err := b.run(t, "line", "a\nb\n"); err == nil {
			t.Fatal("a key of which nothing is known went through")
		}
		b.want(t, "", "", filterStats{})
		if b.mem.release != 1 || b.mem.committed != 0 {
			t.Fatalf("%+v", b.mem)
		}
	})
	t.Run("commit", func(t *testing.T) {
		b := newFilterBench(t)
		b.mem.commErr = broken
		err := b.run(t, "line", "a\nb\n")
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), "records 1 to 2") {
			t.Fatalf("got %v", err)
		}
		b.want(t, "a\nb\n", "", filterStats{})
	})
	t.Run("write", func(t *testing.T) {
		b := newFilterBench(t)
		b.out.Close()
		if err := b.run(t, "line", "a\nb\n"); !errors.Is(err, os.ErrClosed) || b.filter.out.broken(err) {
			t.Fatalf("got %v", err)
		}
		if b.mem.release != 1 || b.mem.committed != 0 {
			t.Fatalf("%+v", b.mem)
		}
	})
	t.Run("duplicates", func(t *testing.T) {
		b := newFilterBench(t)
		b.dups.Close()
		if err := b.run(t, "line", "a\na\n"); !errors.Is(err, os.ErrClosed) {
			t.Fatalf("got %v", err)
		}
		if b.mem.release != 1 || b.mem.committed != 0 {
			t.Fatalf("%+v", b.mem)
		}
	})
	t.Run("pipe", func(t *testing.T) {
		b := newFilterBench(t)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		r.Close()
		b.filter.out = newOutput("out", w, '\n', true)
		if err := b.run(t, "line", "a\na\n"); !b.filter.out.broken(err) {
			t.Fatalf("got %v", err)
		}
		if b.mem.release != 1 || b.mem.committed != 0 {
			t.Fatalf("%+v", b.mem)
		}
	})
	t.Run("input", func(t *testing.T) {
		b := newFilterBench(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		gone := []*input{{name: "gone", path: filepath.Join(t.TempDir(), "gone")}}
		if err := b.filter.run(ctx, feed(ctx, gone, record.Key{}, nil)); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("got %v", err)
		}
	})
}

// TestFilterInterrupted: nothing more is written once the context has ended.
func TestFilterInterrupted(t *testing.T) {
	b := newFilterBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	b.progress = func(int) { cancel() } // after the first batch
	path := write(t, []byte(strings.Repeat("a\nb\n", batchRecords)))
	inputs, err := (&app{in: os.Stdin}).findInputs([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.filter.run(ctx, feed(ctx, inputs, record.Key{}, nil)); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if b.mem.committed != 1 || b.stats.Records != batchRecords {
		t.Fatalf("%d batches, %+v", b.mem.committed, b.stats)
	}
}

// TestFeedPrompt: what is there is handed on while the writer is silent.
func TestFeedPrompt(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f := feed(t.Context(), []*input{{name: "pipe", file: r}}, record.Key{}, nil)
	var got []string
	for _, piece := range []string{"a\nb\n", "c\nhalf", " d\n", "end"} {
		if _, err := io.WriteString(w, piece); err != nil {
			t.Fatal(err)
		}
		if piece == "end" {
			w.Close()
		}
		b := <-f.full
		got = append(got, string(b.data))
		f.free <- b
	}
	if want := []string{"a\nb\n", "c\n", "half d\n", "end"}; !slices.Equal(got, want) {
		t.Fatalf("got batches %q, want %q", got, want)
	}
	for b := range f.full {
		if len(b.ends) > 0 || b.err != nil {
			t.Fatalf("after the end: %q, %v", b.data, b.err)
		}
	}
}

// TestFeedHeader: a header too is handed on while the writer is silent.
func TestFeedHeader(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f := feed(t.Context(), []*input{{name: "pipe", file: r}}, record.Key{}, &headers{})
	if _, err := io.WriteString(w, "head\n"); err != nil {
		t.Fatal(err)
	}
	if b := <-f.full; string(b.header) != "head\n" || len(b.ends) != 0 {
		t.Fatalf("got the header %q and %q", b.header, b.data)
	}
	w.Close()
	for b := range f.full {
		if b.header != nil || len(b.ends) > 0 || b.err != nil {
			t.Fatalf("after the end: %q, %q, %v", b.header, b.data, b.err)
		}
	}
}
