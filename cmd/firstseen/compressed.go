package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// What begins an input tells how it is compressed.
const (
	gzipMagic = "\x1f\x8b\x08"
	zstdMagic = "\x28\xb5\x2f\xfd"
)

// others are what records are never read from, and what makes them readable.
var others = []struct{ magic, name, tool string }{
	{"\xfd7zXZ\x00", "an xz file", "xz -dc"},
	{"BZh91AY&SY", "a bzip2 file", "bzip2 -dc"},
	{"\x04\x22\x4d\x18", "an lz4 file", "lz4 -dc"},
	{"PK\x03\x04", "a zip archive", "unzip -p"},
}

// decompressed returns what src holds: as it is, or what gzip or zstd made of it.
// It reads no more of src than it takes to tell, so that a slow one's first record
// is not kept back.
func decompressed(src io.Reader) (io.ReadCloser, error) {
	head, err := readHead(src)
	all := io.MultiReader(bytes.NewReader(head), src)
	if err != nil && err != io.EOF {
		// It comes again after what was read before it.
		all = io.MultiReader(bytes.NewReader(head), failing{err})
	}
	is := func(magic string) bool { return strings.HasPrefix(string(head), magic) }
	switch {
	case is(gzipMagic):
		r, err := gzip.NewReader(all)
		if err != nil {
			return nil, fmt.Errorf("it begins like gzip, but: %w", err)
		}
		return &unpacker{r: r, close: func() { _ = r.Close() }, kind: "gzip"}, nil
	case is(zstdMagic):
		// One goroutine, and a window that the usual levels stay below (128 MiB, as
		// zstd -d has it).
		r, err := zstd.NewReader(all, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, fmt.Errorf("it begins like zstd, but: %w", err)
		}
		return &unpacker{r: r, close: r.Close, kind: "zstd"}, nil
	}
	for _, o := range others {
		if is(o.magic) {
			return nil, fmt.Errorf("it is %s, which can't be read here; pass on what '%s' makes of it", o.name, o.tool)
		}
	}
	if is("\xff\xfe") && len(head) > 3 && head[3] == 0 || is("\xfe\xff\x00") {
		return nil, errors.New("it is UTF-16 text, in which no record can be found; pass on what 'iconv -f UTF-16 -t UTF-8' makes of it")
	}
	return io.NopCloser(all), nil
}

// readHead reads what tells the kind of an input: it stops with the first byte that
// no kind has.
func readHead(src io.Reader) ([]byte, error) {
	head := make([]byte, 0, 64<<10)
	for open := true; open; {
		n, err := src.Read(head[len(head):cap(head)])
		head = head[:len(head)+n]
		if err != nil {
			return head, err
		}
		begins := func(magic string) bool {
			return len(head) < len(magic) && strings.HasPrefix(magic, string(head))
		}
		open = begins(gzipMagic) || begins(zstdMagic)
		for _, o := range others {
			open = open || begins(o.magic)
		}
	}
	return head, nil
}

// failing gives an error.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// An unpacker names what it could not unpack.
type unpacker struct {
	r     io.Reader
	close func()
	kind  string
}

func (u *unpacker) Read(b []byte) (int, error) {
	n, err := u.r.Read(b)
	switch {
	case err == nil || err == io.EOF:
		return n, err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, fmt.Errorf("its %s data ends too early: %w", u.kind, err)
	}
	return n, fmt.Errorf("its %s data is damaged: %w", u.kind, err)
}

func (u *unpacker) Close() error {
	u.close()
	return nil
}
