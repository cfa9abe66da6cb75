package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/firstseen/firstseen/internal/record"
)

// listBatch is how many keys of a list are asked for at once.
const listBatch = 512

// A keyList goes through the keys of a list.
type keyList struct {
	args keyArgs
	in   io.Reader
	out  io.Writer
	nul  bool
	// ask says of each key whether it is, or was, remembered.
	ask func(ctx context.Context, keys [][]byte) ([]bool, error)
	// yes and no are printed before a key.
	yes, no string
}

// run returns whether the answer was yes for all keys.
func (l keyList) run(ctx context.Context) (all bool, err error) {
	src, err := decompressed(l.in)
	if err != nil {
		return false, fmt.Errorf("standard input: %w", err)
	}
	defer src.Close()
	r := record.NewReader(src, record.Format{NUL: l.nul})
	w := bufio.NewWriter(l.out)
	all = true
	for end := false; !end; {
		var texts, keys [][]byte
		for len(texts) == 0 || len(texts) < listBatch && r.Ready() {
			rec, err := r.Next()
			if err == io.EOF {
				end = true
				break
			}
			var text, key []byte
			if err == nil {
				text = l.text(rec)
				key, err = l.args.parse(nil, l.fields(text)...)
			}
			if err != nil {
				return false, fmt.Errorf("standard input: record %d: %w", max(1, r.Records()), err)
			}
			texts, keys = append(texts, text), append(keys, key)
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		found, err := l.ask(ctx, keys)
		if err != nil {
			return false, err
		}
		for i, text := range texts {
			answer := l.no
			if found[i] {
				answer = l.yes
			}
			all = all && found[i]
			_, _ = fmt.Fprintf(w, "%s\t%s%c", answer, text, l.args.end(l.nul))
		}
		if err := w.Flush(); err != nil {
			return false, fmt.Errorf("the answers can't be written: %w", err)
		}
	}
	return all, nil
}

// text is a record of the list without its end: a carriage return belongs to a key only
// where keys are lines.
func (l keyList) text(rec []byte) []byte {
	rec = bytes.Clone(bytes.TrimSuffix(rec, []byte{l.args.end(l.nul)}))
	if !l.nul && (l.args.isHex || l.args.key.String() != "line") {
		rec = bytes.TrimSuffix(rec, []byte{'\r'})
	}
	return rec
}

func (l keyList) fields(text []byte) [][]byte {
	if l.args.isHex || l.args.key.Fields() == 1 {
		return [][]byte{text}
	}
	return bytes.Split(text, []byte{'\t'})
}

func (keyArgs) end(nul bool) byte { return record.Format{NUL: nul}.End() }
