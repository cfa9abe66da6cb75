package record

import "bytes"

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
// begins with the record.
//
// A quote counts only as a field's first byte and within a field that began so.
// After the closing quote any bytes up to the next comma belong to the field as
// they are, so that a stray quote ends with its field and not somewhere in the
// next records.
func scanCSV(b []byte, state csvState, atStart bool) (int, csvState) {
	if atStart {
		// Most records have no quote at all: two vector searches then do what
		// the loop below needs a step a byte for (BenchmarkReader).
		if i := bytes.IndexByte(b, '\n'); i >= 0 && bytes.IndexByte(b[:i], '"') < 0 {
			return i, csvField
		}
	}
	for i, c := range b {
		switch state {
		case csvField, csvPlain:
			switch {
			case c == '\n':
				return i, csvField
			case c == ',':
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
			case '\n':
				return i, csvField
			case ',':
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

// csvColumn appends field n (the first is 1) of a CSV record to dst, its quotes
// taken off. Not found: the record has fewer fields, or a quote in field n or
// before it does not close.
func csvColumn(dst, rec []byte, n int) ([]byte, bool) {
	rec = trimLineEnd(rec)
	for ; n > 1; n-- {
		size, closed := csvFieldLen(rec)
		if !closed || size == len(rec) {
			return dst, false
		}
		rec = rec[size+1:]
	}
	size, closed := csvFieldLen(rec)
	if !closed {
		return dst, false
	}
	return appendUnquoted(dst, rec[:size]), true
}

// csvFieldLen returns the length of the field that b begins with, as written,
// and whether its quote, if it has one, closes.
func csvFieldLen(b []byte) (int, bool) {
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
	if c := bytes.IndexByte(b[i:], ','); c >= 0 {
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

// tsvColumn appends field n (the first is 1) of a tab-separated line to dst.
// TSV has no quotes: a tab always ends a field.
func tsvColumn(dst, rec []byte, n int) ([]byte, bool) {
	rec = trimLineEnd(rec)
	for ; n > 1; n-- {
		i := bytes.IndexByte(rec, '\t')
		if i < 0 {
			return dst, false
		}
		rec = rec[i+1:]
	}
	if i := bytes.IndexByte(rec, '\t'); i >= 0 {
		rec = rec[:i]
	}
	return append(dst, rec...), true
}

// trimLineEnd takes "\n", "\r\n" or, at the end of a stream that lacks the line
// feed, "\r" off: a field is the same whatever line ends its file has.
func trimLineEnd(rec []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(rec, []byte{'\n'}), []byte{'\r'})
}
