package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func zipped(t *testing.T, kind, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch kind {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zstd":
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	default:
		return []byte(text)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestFilterCompressed: inputs are unpacked by what they hold, whatever they are
// called, several in one file, several files, and from standard input.
func TestFilterCompressed(t *testing.T) {
	var text, want strings.Builder
	for i := range 50_000 {
		line := strings.Repeat(string(rune('a'+i%26)), i/1000) + "\n"
		if text.WriteString(line); i%1000 < 26 && line != "\n" || i == 0 {
			want.WriteString(line)
		}
	}
	half := strings.LastIndexByte(text.String()[:text.Len()/2], '\n') + 5 // within a line
	for _, kind := range []string{"plain", "gzip", "zstd"} {
		parts := append(zipped(t, kind, text.String()[:half]), zipped(t, kind, text.String()[half:])...)
		same(t, kind+" in two parts", must(t, bytes.NewReader(parts), "filter"), want.String())
	}
	a, b, c := write(t, zipped(t, "gzip", "\ufeffid\n1\n2\n")), write(t, zipped(t, "zstd", "id\r\n2\n3")), write(t, []byte("id\n4\n"))
	same(t, "a mix with headers", must(t, nil, "filter", "--key", "csv:id", a, b, c), "\ufeffid\n1\n2\n3\n4\n")
	same(t, "an empty one", must(t, bytes.NewReader(zipped(t, "gzip", "")), "filter"), "")
}

// TestFilterCompressedBadly: what ends early or is damaged is an error that names the
// file, after the records before it; what can't be unpacked is refused.
func TestFilterCompressedBadly(t *testing.T) {
	f := func(data []byte, out, inStderr string) {
		t.Helper()
		path := write(t, data)
		r := firstseen(t, nil, "filter", path)
		if r.code != 1 || !strings.HasPrefix(r.out, out) || !strings.Contains(r.err, path) || !strings.Contains(r.err, inStderr) {
			t.Fatalf("%.20q: %.60q, %s, exit code %d; want %q", data, r.out, r.err, r.code, inStderr)
		}
	}
	for _, kind := range []string{"gzip", "zstd"} {
		whole := zipped(t, kind, strings.Repeat("some text\n", 100))
		f(whole[:len(whole)-3], "", "its "+kind+" data ends too early")
		f(append(whole, "more than a header has"...), "some text\n", "its "+kind+" data is damaged")
	}
	f([]byte("\xfd7zXZ\x00data"), "", "xz -dc")
	f([]byte("BZh91AY&SYdata"), "", "bzip2 -dc")
	f([]byte("\x04\x22\x4d\x18data"), "", "lz4 -dc")
	f([]byte("PK\x03\x04data"), "", "unzip -p")
	f([]byte("\xff\xfea\x00\n\x00"), "", "UTF-16")
	f([]byte("\xfe\xff\x00a\x00\n"), "", "UTF-16")
}

// TestDecompressedPrompt: no byte more is waited for than it takes to tell.
func TestDecompressedPrompt(t *testing.T) {
	for _, text := range []string{"a", "\n", "(\n", "P\n", "BZ\n", "\x1f\n"} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
		src, err := decompressed(r) // hangs when it waits
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 10)
		if n, err := src.Read(got); err != nil || string(got[:n]) != text {
			t.Fatalf("%q: got %q, %v", text, got[:n], err)
		}
		r.Close()
		w.Close()
	}
}

// TestGuess: the size of files tells how many records there are.
func TestGuess(t *testing.T) {
	text := strings.Repeat("0123456789abcdef,xyz\n", 100_000)
	for _, kind := range []string{"plain", "gzip", "zstd"} {
		path := filepath.Join(t.TempDir(), "in")
		if err := os.WriteFile(path, zipped(t, kind, text), 0o600); err != nil {
			t.Fatal(err)
		}
		a := &app{in: os.Stdin}
		inputs, err := a.findInputs([]string{write(t, nil), path, path})
		if err != nil {
			t.Fatal(err)
		}
		var key keyFlag
		if err := key.Set("csv:1"); err != nil {
			t.Fatal(err)
		}
		records, keyBytes := guess(inputs, key.Key)
		if records < 180_000 || records > 220_000 || keyBytes != 16 {
			t.Fatalf("%s: %d records with keys of %d bytes, want 200,000 of 16", kind, records, keyBytes)
		}
	}
}
