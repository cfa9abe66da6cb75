package record

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// readAll returns the records of r as strings.
func readAll(r *Reader) ([]string, error) {
	var recs []string
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return recs, nil
		}
		if err != nil {
			return recs, err
		}
		recs = append(recs, string(rec))
	}
}

func TestReader(t *testing.T) {
	f := func(format Format, input string, want ...string) {
		t.Helper()
		sources := map[string]io.Reader{
			"whole":         strings.NewReader(input),
			"byte by byte":  iotest.OneByteReader(strings.NewReader(input)),
			"data with EOF": iotest.DataErrReader(strings.NewReader(input)),
		}
		for name, src := range sources {
			got, err := readAll(NewReader(src, format))
			if err != nil {
				t.Fatalf("%q, read %s: %v", input, name, err)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%q, read %s: got records %q, want %q", input, name, got, want)
			}
		}
	}
	f(Lines, "")
	f(Lines, "\n", "\n")
	f(Lines, "\n\n", "\n", "\n")
	f(Lines, "a", "a")
	f(Lines, "a\n", "a\n")
	f(Lines, "a\nb", "a\n", "b")
	f(Lines, "a\r\n\r\nb\r", "a\r\n", "\r\n", "b\r")
	f(Lines, "\x00\n\xff\x00\nx\x00", "\x00\n", "\xff\x00\n", "x\x00")
	f(Lines, "\"a\nb\"\n", "\"a\n", "b\"\n")

	f(CSV, "")
	f(CSV, "a,b\nc,d", "a,b\n", "c,d")
	f(CSV, "a,\"b\nc\"\nd", "a,\"b\nc\"\n", "d")
	f(CSV, "\"\n\"\n\"\r\n\"\r\n", "\"\n\"\n", "\"\r\n\"\r\n")
	f(CSV, "\"a\"\"\n\"\"b\",c\nd\n", "\"a\"\"\n\"\"b\",c\n", "d\n")
	f(CSV, "\"\"\n\"\"\"\"\nx", "\"\"\n", "\"\"\"\"\n", "x")
	f(CSV, "\"\"\"\n\"\nx", "\"\"\"\n\"\n", "x")
	f(CSV, "5\" pipe,x\ny\n", "5\" pipe,x\n", "y\n")             // a quote within a field is a byte like others
	f(CSV, "\"a\"b\"\nc\n", "\"a\"b\"\n", "c\n")                 // so is one after the closing quote
	f(CSV, "a,\" b\nc,d\n", "a,\" b\nc,d\n")                     // never closed: all the rest
	f(CSV, "a,\"b\n\"\"", "a,\"b\n\"\"")                         // never closed, ends in a pair
	f(CSV, "\n\r\n,\n", "\n", "\r\n", ",\n")                     // empty records
	f(CSV, "a,\"b\"\r\n\"c\r\nd\"", "a,\"b\"\r\n", "\"c\r\nd\"") // last quote is the last byte
}

func TestReaderUnclosed(t *testing.T) {
	f := func(input string, want ...bool) {
		t.Helper()
		r := NewReader(strings.NewReader(input), CSV)
		for i, w := range want {
			if _, err := r.Next(); err != nil {
				t.Fatalf("%q: record %d: %v", input, i+1, err)
			}
			if got := r.Unclosed(); got != w {
				t.Fatalf("%q: Unclosed after record %d is %v, want %v", input, i+1, got, w)
			}
		}
	}
	f("a\n\"b", false, true)
	f("a\n\"b\"", false, false)
	f("\"b\"\"", true)
	f("\"b\"x", false)
	f("\"\n\"\nb", false, false)
}

// TestReaderLong checks records around the sizes at which the buffer moves and
// grows.
func TestReaderLong(t *testing.T) {
	var in []byte
	var want []string
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, readSize - 1, readSize, readSize + 1, 5, 3*readSize + 7, 2, readSize / 2, 1 << 21, 9} {
		rec := append(bytes.Repeat([]byte{byte('a' + rng.IntN(26))}, n), '\n')
		in = append(in, rec...)
		want = append(want, string(rec))
	}
	for _, f := range []Format{Lines, CSV} {
		got, err := readAll(NewReader(iotest.HalfReader(bytes.NewReader(in)), f))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("format %d: %d records differ from the %d given", f, len(got), len(want))
		}
	}
}

func TestReaderLimit(t *testing.T) {
	f := func(format Format, input string, wantRecords int, wantOffset int64) {
		t.Helper()
		for _, src := range []io.Reader{strings.NewReader(input), iotest.OneByteReader(strings.NewReader(input))} {
			r := NewReader(src, format)
			r.limit = 4
			recs, err := readAll(r)
			var long *TooLongError
			if wantOffset < 0 {
				if err != nil {
					t.Fatalf("%q: %v", input, err)
				}
			} else if !errors.As(err, &long) || long.Offset != wantOffset || long.Record != uint64(wantRecords)+1 {
				t.Fatalf("%q: got error %v, want one at byte %d", input, err, wantOffset)
			}
			if len(recs) != wantRecords {
				t.Fatalf("%q: got %q, want %d records", input, recs, wantRecords)
			}
		}
	}
	f(Lines, "abcd\nabcd", 2, -1)
	f(Lines, "abcde", 0, 0)
	f(Lines, "a\nabcde\nb\n", 1, 2)
	f(Lines, "abcd\nabcde", 1, 5)
	f(CSV, "\"a\n\"\nb\n", 2, -1)
	f(CSV, "b\n\"ab\n\"\n", 1, 2)
	r := NewReader(strings.NewReader("x,\"aaaaa\nb\n"), CSV)
	r.limit = 4
	if _, err := readAll(r); err == nil || !strings.Contains(err.Error(), "quote") {
		t.Fatalf("got %v, want an error that names the open quote", err)
	}
}

// TestReaderSourceError: what was complete comes first, the cut record never.
func TestReaderSourceError(t *testing.T) {
	broken := errors.New("broken")
	r := NewReader(io.MultiReader(strings.NewReader("a\nb\ncut"), iotest.ErrReader(broken)), Lines)
	recs, err := readAll(r)
	if err != broken || !slices.Equal(recs, []string{"a\n", "b\n"}) {
		t.Fatalf("got %q, %v", recs, err)
	}
	if _, err = r.Next(); err != broken {
		t.Fatalf("second call: got %v", err)
	}
	if _, err := NewReader(emptyReads{}, Lines).Next(); err != io.ErrNoProgress {
		t.Fatalf("empty reads: got %v", err)
	}
}

type emptyReads struct{}

func (emptyReads) Read([]byte) (int, error) { return 0, nil }

// TestReaderReady: Ready is true exactly while Next does not have to read.
func TestReaderReady(t *testing.T) {
	pieces := []string{"a\nb\n", "c", "\n\"d\n", "e\"\nf"}
	src := &pieceReader{pieces: pieces}
	r := NewReader(src, CSV)
	var got []string
	for {
		if r.Ready() {
			before := src.reads
			rec, err := r.Next()
			if src.reads != before {
				t.Fatalf("Ready, and yet Next read; so far %q", got)
			}
			if err == io.EOF {
				break
			}
			got = append(got, string(rec))
			continue
		}
		before := src.reads
		rec, err := r.Next()
		if src.reads == before {
			t.Fatalf("not Ready, and yet Next gave %q without reading", rec)
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(rec))
	}
	want := []string{"a\n", "b\n", "c\n", "\"d\ne\"\n", "f"}
	if !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	if r.Records() != 5 || r.Offset() != int64(len(strings.Join(want, ""))) {
		t.Fatalf("got %d records, %d bytes", r.Records(), r.Offset())
	}
}

// pieceReader gives one piece a call.
type pieceReader struct {
	pieces []string
	reads  int
}

func (p *pieceReader) Read(b []byte) (int, error) {
	p.reads++
	if len(p.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.pieces[0])
	p.pieces = p.pieces[1:]
	return n, nil
}

// TestCSVAgainstStandardLibrary writes random tables with encoding/csv, reads
// them back with Reader and Key, and expects the fields that went in.
func TestCSVAgainstStandardLibrary(t *testing.T) {
	const seed1, seed2 = 3, 4
	rng := rand.New(rand.NewPCG(seed1, seed2))
	alphabet := []string{"a", "b", ",", "\"", "\n", " ", "\t", "é", "\x00", "\"\""}
	for round := range 300 {
		var file bytes.Buffer
		var rows [][]string
		w := csv.NewWriter(&file)
		w.UseCRLF = round%2 == 1
		columns := 1 + rng.IntN(4)
		for range rng.IntN(20) {
			row := make([]string, columns)
			for i := range row {
				for range 1 + rng.IntN(6) {
					row[i] += alphabet[rng.IntN(len(alphabet))]
				}
			}
			rows = append(rows, row)
			if err := w.Write(row); err != nil {
				t.Fatal(err)
			}
		}
		w.Flush()
		recs, err := readAll(NewReader(iotest.OneByteReader(&file), CSV))
		if err != nil || len(recs) != len(rows) {
			t.Fatalf("round %d: %d records of %d, %v", round, len(recs), len(rows), err)
		}
		for i, row := range rows {
			for c, want := range row {
				// With UseCRLF the writer makes "\r\n" of a line feed in a field;
				// we keep the bytes.
				if w.UseCRLF {
					want = strings.ReplaceAll(want, "\n", "\r\n")
				}
				got, ok := csvColumn(nil, []byte(recs[i]), c+1)
				if !ok || string(got) != want {
					t.Fatalf("round %d, %q, column %d: got %q, %v, want %q", round, recs[i], c+1, got, ok, want)
				}
			}
			if got, ok := csvColumn(nil, []byte(recs[i]), columns+1); ok {
				t.Fatalf("round %d, %q has no column %d, got %q", round, recs[i], columns+1, got)
			}
		}
	}
}

// FuzzReader: the records put together are the input, however it arrives, and
// all but the last end with a line feed.
func FuzzReader(f *testing.F) {
	f.Add([]byte("a\n\"b\nc\",d\r\n\n\"\"\"\n"), uint8(3), true)
	f.Add([]byte("\x00\xff\n\n\nlast"), uint8(1), false)
	f.Fuzz(func(t *testing.T, in []byte, piece uint8, isCSV bool) {
		format := Lines
		if isCSV {
			format = CSV
		}
		whole, err := readAll(NewReader(bytes.NewReader(in), format))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(whole, ""); got != string(in) {
			t.Fatalf("records %q are not the input %q", whole, in)
		}
		for i, rec := range whole {
			if i < len(whole)-1 && rec[len(rec)-1] != '\n' || rec == "" {
				t.Fatalf("record %d of %q has no end", i, whole)
			}
			if !isCSV && strings.IndexByte(rec, '\n') < len(rec)-1 && strings.Contains(rec, "\n") {
				t.Fatalf("line %q has a line feed inside", rec)
			}
		}
		p := int(piece) + 1
		r := NewReader(bytes.NewReader(in), format)
		r.src = &chunkReader{b: in, n: p}
		pieces, err := readAll(r)
		if err != nil || !slices.Equal(whole, pieces) {
			t.Fatalf("in pieces of %d: %q, %v, whole: %q", p, pieces, err, whole)
		}
		if isCSV {
			checkScanTwin(t, in, whole)
		}
	})
}

// checkScanTwin compares with the same scan made without its fast way.
func checkScanTwin(t *testing.T, in []byte, whole []string) {
	var plain []string
	for rest := in; len(rest) > 0; {
		i, _ := scanCSV(rest, csvField, false)
		if i < 0 {
			i = len(rest) - 1
		}
		plain = append(plain, string(rest[:i+1]))
		rest = rest[i+1:]
	}
	if !slices.Equal(plain, whole) {
		t.Fatalf("fast way %q, plain way %q", whole, plain)
	}
}

// chunkReader gives at most n bytes a call.
type chunkReader struct {
	b []byte
	n int
}

func (c *chunkReader) Read(b []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), c.n)], c.b)
	c.b = c.b[n:]
	return n, nil
}

func BenchmarkReader(b *testing.B) {
	var plain, quoted bytes.Buffer
	for i := range 100_000 {
		fmt.Fprintf(&plain, "%d,name %d,2024-05-01T12:00:00Z,some text that is not short\n", i, i*7)
		fmt.Fprintf(&quoted, "%d,\"name %d\",2024-05-01T12:00:00Z,\"some text, not\nshort\"\n", i, i*7)
	}
	for _, c := range []struct {
		name string
		data []byte
		f    Format
	}{
		{"format=lines", plain.Bytes(), Lines},
		{"format=csv/quotes=0", plain.Bytes(), CSV},
		{"format=csv/quotes=1", quoted.Bytes(), CSV},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.data)))
			b.ReportAllocs()
			var n uint64
			for b.Loop() {
				r := NewReader(bytes.NewReader(c.data), c.f)
				for {
					if _, err := r.Next(); err != nil {
						break
					}
				}
				n += r.Records()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/record")
		})
	}
}
