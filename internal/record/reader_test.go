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

var (
	lines = Format{}
	csvs  = Format{CSV: true, Delimiter: ','}
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
	f(lines, "")
	f(lines, "\n", "\n")
	f(lines, "\n\n", "\n", "\n")
	f(lines, "a", "a")
	f(lines, "a\n", "a\n")
	f(lines, "a\nb", "a\n", "b")
	f(lines, "a\r\n\r\nb\r", "a\r\n", "\r\n", "b\r")
	f(lines, "\x00\n\xff\x00\nx\x00", "\x00\n", "\xff\x00\n", "x\x00")
	f(lines, "\"a\nb\"\n", "\"a\n", "b\"\n")

	f(csvs, "")
	f(csvs, "a,b\nc,d", "a,b\n", "c,d")
	f(csvs, "a,\"b\nc\"\nd", "a,\"b\nc\"\n", "d")
	f(csvs, "\"\n\"\n\"\r\n\"\r\n", "\"\n\"\n", "\"\r\n\"\r\n")
	f(csvs, "\"a\"\"\n\"\"b\",c\nd\n", "\"a\"\"\n\"\"b\",c\n", "d\n")
	f(csvs, "\"\"\n\"\"\"\"\nx", "\"\"\n", "\"\"\"\"\n", "x")
	f(csvs, "\"\"\"\n\"\nx", "\"\"\"\n\"\n", "x")
	f(csvs, "5\" pipe,x\ny\n", "5\" pipe,x\n", "y\n")             // a quote within a field is a byte like others
	f(csvs, "\"a\"b\"\nc\n", "\"a\"b\"\n", "c\n")                 // so is one after the closing quote
	f(csvs, "a,\" b\nc,d\n", "a,\" b\nc,d\n")                     // never closed: all the rest
	f(csvs, "a,\"b\n\"\"", "a,\"b\n\"\"")                         // never closed, ends in a pair
	f(csvs, "\n\r\n,\n", "\n", "\r\n", ",\n")                     // empty records
	f(csvs, "a,\"b\"\r\n\"c\r\nd\"", "a,\"b\"\r\n", "\"c\r\nd\"") // last quote is the last byte
}

// TestReaderNUL: a zero byte ends a record, and a line feed is a byte like others.
func TestReaderNUL(t *testing.T) {
	f := func(isCSV bool, input string, want ...string) {
		t.Helper()
		format := Format{CSV: isCSV, Delimiter: ';', NUL: true}
		got, err := readAll(NewReader(iotest.OneByteReader(strings.NewReader(input)), format))
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%q: got records %q, %v, want %q", input, got, err, want)
		}
	}
	f(false, "a\nb\x00c\r\n\x00\x00d", "a\nb\x00", "c\r\n\x00", "\x00", "d")
	f(true, "a\n;\"b\x00c\"\x00,\"d\x00e", "a\n;\"b\x00c\"\x00", ",\"d\x00", "e")
}

// TestReaderBOM: a byte order mark at the very beginning is in no record, others are.
func TestReaderBOM(t *testing.T) {
	f := func(input string, bom bool, want ...string) {
		t.Helper()
		for _, src := range []io.Reader{strings.NewReader(input), iotest.OneByteReader(strings.NewReader(input))} {
			r := NewReader(src, csvs)
			got, err := readAll(r)
			if err != nil || !slices.Equal(got, want) || r.BOM() != bom || r.Offset() != int64(len(input)) {
				t.Fatalf("%q: got records %q to byte %d, %v, %v, want %q", input, got, r.Offset(), r.BOM(), err, want)
			}
		}
	}
	f("\ufeff", true)
	f("\ufeffa\n\ufeffb", true, "a\n", "\ufeffb")
	f("\ufeff\ufeffa", true, "\ufeffa")
	f("\ufeff\"a\nb\",c\nd", true, "\"a\nb\",c\n", "d")
	f("\xef\xbb", false, "\xef\xbb")
	f("\xef\n", false, "\xef\n")
}

func TestReaderUnclosed(t *testing.T) {
	f := func(input string, want ...bool) {
		t.Helper()
		r := NewReader(strings.NewReader(input), csvs)
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
	for _, f := range []Format{lines, csvs} {
		got, err := readAll(NewReader(iotest.HalfReader(bytes.NewReader(in)), f))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("format %+v: %d records differ from the %d given", f, len(got), len(want))
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
	f(lines, "abcd\nabcd", 2, -1)
	f(lines, "abcde", 0, 0)
	f(lines, "a\nabcde\nb\n", 1, 2)
	f(lines, "abcd\nabcde", 1, 5)
	f(csvs, "\"a\n\"\nb\n", 2, -1)
	f(csvs, "b\n\"ab\n\"\n", 1, 2)
	r := NewReader(strings.NewReader("x,\"aaaaa\nb\n"), csvs)
	r.limit = 4
	if _, err := readAll(r); err == nil || !strings.Contains(err.Error(), "quote") {
		t.Fatalf("got %v, want an error that names the open quote", err)
	}
}

// TestReaderSourceError: what was complete comes first, the cut record never.
func TestReaderSourceError(t *testing.T) {
	broken := errors.New("broken")
	r := NewReader(io.MultiReader(strings.NewReader("a\nb\ncut"), iotest.ErrReader(broken)), lines)
	recs, err := readAll(r)
	if err != broken || !slices.Equal(recs, []string{"a\n", "b\n"}) {
		t.Fatalf("got %q, %v", recs, err)
	}
	if _, err = r.Next(); err != broken {
		t.Fatalf("second call: got %v", err)
	}
	if _, err := NewReader(emptyReads{}, lines).Next(); err != io.ErrNoProgress {
		t.Fatalf("empty reads: got %v", err)
	}
}

type emptyReads struct{}

func (emptyReads) Read([]byte) (int, error) { return 0, nil }

// TestReaderReady: Ready is true exactly while Next does not have to read.
func TestReaderReady(t *testing.T) {
	pieces := []string{"a\nb\n", "c", "\n\"d\n", "e\"\nf"}
	src := &pieceReader{pieces: pieces}
	r := NewReader(src, csvs)
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
		recs, err := readAll(NewReader(iotest.OneByteReader(&file), csvs))
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
				k := Key{kind: keyCSV, fields: []field{{column: c + 1}}}
				got, err := k.Append(nil, []byte(recs[i]))
				if err != nil || !bytes.Equal(got, AppendKey(nil, []byte(want))) {
					t.Fatalf("round %d, %q, column %d: got %q, %v, want %q", round, recs[i], c+1, got, err, want)
				}
			}
			k := Key{kind: keyCSV, fields: []field{{column: columns + 1}}}
			if got, err := k.Append(nil, []byte(recs[i])); !errors.Is(err, ErrAbsent) {
				t.Fatalf("round %d, %q has no column %d, got %q, %v", round, recs[i], columns+1, got, err)
			}
		}
	}
}

// FuzzReader: the records put together are the input, but for its byte order mark,
// however it arrives, and all but the last have their end.
func FuzzReader(f *testing.F) {
	f.Add([]byte("a\n\"b\nc\",d\r\n\n\"\"\"\n"), uint8(3), true, false)
	f.Add([]byte("\x00\xff\n\n\nlast"), uint8(1), false, false)
	f.Add([]byte("\ufeffa\x00\xef\xbb\x00"), uint8(0), true, true)
	f.Fuzz(func(t *testing.T, in []byte, piece uint8, isCSV, isNUL bool) {
		format := Format{CSV: isCSV, Delimiter: ',', NUL: isNUL}
		end := string(format.End())
		whole, err := readAll(NewReader(bytes.NewReader(in), format))
		if err != nil {
			t.Fatal(err)
		}
		text := bytes.TrimPrefix(in, []byte(bom))
		if got := strings.Join(whole, ""); got != string(text) {
			t.Fatalf("records %q are not the input %q", whole, in)
		}
		for i, rec := range whole {
			if i < len(whole)-1 && !strings.HasSuffix(rec, end) || rec == "" {
				t.Fatalf("record %d of %q has no end", i, whole)
			}
			if !isCSV && strings.Contains(strings.TrimSuffix(rec, end), end) {
				t.Fatalf("record %q has an end inside", rec)
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
			checkScanTwin(t, text, whole, format)
		}
	})
}

// checkScanTwin compares with the same scan made without its fast way.
func checkScanTwin(t *testing.T, in []byte, whole []string, f Format) {
	var plain []string
	for rest := in; len(rest) > 0; {
		i, _ := scanCSV(rest, csvField, false, f.Delimiter, f.End())
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

// chunkReader gives at most n bytes per call.
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
		{"format=lines", plain.Bytes(), lines},
		{"format=csv/quotes=0", plain.Bytes(), csvs},
		{"format=csv/quotes=1", quoted.Bytes(), csvs},
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
