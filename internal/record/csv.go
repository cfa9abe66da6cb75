package record

import (
	"bytes"
	"slices"
)

// csvState is where in a record a scan for its end has come to.
type csvState uint8

const (
	csvField  csvState = iota // before the first byte of a field
	csvPlain                  // in a field, outside quotes
	csvQuoted                 // inside quotes
	csvQuote                  // after a quote inside quotes: the field's end, or the first of a pair
)

// scanCSV looks for the line feed that ends the record, from state on. It
// returns its index in b, or -1 and the state after b. atStart says that b
// begins with the record, end is what ends it.
//
// A quote counts only as a field's first byte and within a field that began so.
// After the closing quote any bytes up to the next comma belong to the field as
// they are, so that a stray quote ends with its field and not somewhere in the
// next records.
func scanCSV(b []byte, state csvState, atStart bool, delimiter, end byte) (int, csvState) {
	if atStart {
		// Most records have no quote at all: two vector searches then do what
		// the loop below needs a step a byte for (BenchmarkReader).
		if i := bytes.IndexByte(b, end); i >= 0 && bytes.IndexByte(b[:i], '"') < 0 {
			return i, csvField
		}
	}
	for i, c := range b {
		switch state {
		case csvField, csvPlain:
			switch {
			case c == end:
				return i, csvField
			case c == delimiter:
				state = csvField
			case c == '"' && state == csvField:
				state = csvQuoted
			default:
				state = csvPlain
			}
		case csvQuoted:
			if c == '"' {
				state = csvQuote
			}
		case csvQuote:
			switch c {
			case end:
				return i, csvField
			case delimiter:
				state = csvField
			case '"':
				state = csvQuoted
			default:
				state = csvPlain
			}
		}
	}
	return -1, state
}

// appendColumn appends field n (the first is 1) of a record of csv or tsv to dst,
// its quotes taken off: nothing when the record has fewer fields, or a quote in
// field n or before it does not close.
func (k Key) appendColumn(dst, rec []byte, n int) []byte {
	text, more := []byte(nil), true
	for ; n > 0 && more; n-- {
		text, rec, more = k.nextField(rec)
	}
	if n > 0 {
		return dst
	}
	return k.unquoted(dst, text)
}

// appendOthers appends the fields of rec that the key does not leave out, each
// behind its length.
func (k Key) appendOthers(dst, rec []byte) (_ []byte, any bool) {
	var text []byte
	for column, more := 1, true; more; column++ {
		text, rec, more = k.nextField(rec)
		if slices.ContainsFunc(k.fields, func(f field) bool { return f.column == column }) {
			continue
		}
		at := len(dst)
		dst = k.opts.change(k.unquoted(dst, text), at)
		any = any || len(dst) > at
		dst = insertLength(dst, at)
	}
	return dst, any
}

// nextField cuts the first field off b. more is false when it was the last one.
// A field whose quote does not close is empty, and the last one.
func (k Key) nextField(b []byte) (text, rest []byte, more bool) {
	n, closed := len(b), true
	if k.kind == keyCSV {
		n, closed = csvFieldLen(b, k.delimiter())
	} else if i := bytes.IndexByte(b, k.delimiter()); i >= 0 {
		n = i
	}
	if !closed {
		return nil, nil, false
	}
	if n == len(b) {
		return b, nil, false
	}
	return b[:n], b[n+1:], true
}

// unquoted appends a field as nextField gives it. TSV has no quotes.
func (k Key) unquoted(dst, text []byte) []byte {
	if k.kind != keyCSV {
		return append(dst, text...)
	}
	return appendUnquoted(dst, text)
}

// csvFieldLen returns the length of the field that b begins with, as written,
// and whether its quote, if it has one, closes.
func csvFieldLen(b []byte, delimiter byte) (int, bool) {
	i := 0
	if len(b) > 0 && b[0] == '"' {
		i = 1
		for {
			q := bytes.IndexByte(b[i:], '"')
			if q < 0 {
				return len(b), false
			}
			i += q + 1
			if i == len(b) || b[i] != '"' {
				break
			}
			i++
		}
	}
	if c := bytes.IndexByte(b[i:], delimiter); c >= 0 {
		return i + c, true
	}
	return len(b), true
}

// appendUnquoted appends a field without its quotes, with pairs of quotes made
// single. What follows the closing quote is kept.
func appendUnquoted(dst, field []byte) []byte {
	if len(field) == 0 || field[0] != '"' {
		return append(dst, field...)
	}
	for b := field[1:]; ; {
		q := bytes.IndexByte(b, '"')
		if q < 0 {
			return append(dst, b...)
		}
		dst = append(dst, b[:q]...)
		b = b[q+1:]
		if len(b) == 0 || b[0] != '"' {
			return append(dst, b...)
		}
		dst = append(dst, '"')
		b = b[1:]
	}
}
