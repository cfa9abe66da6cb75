package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/firstseen/firstseen/dedup"
)

// Why a record has no key.
var (
	// ErrAbsent: the field, or every one of several, is absent, null or empty.
	ErrAbsent = errors.New("the field is absent, null or empty")
	// ErrNoJSON: the record is no valid JSON document.
	ErrNoJSON = errors.New("it is no valid JSON document")
	// ErrNoObject: it is one, but no object, of which members could be left out.
	ErrNoObject = errors.New("it is no JSON object")
	// ErrNested: it is nested more than [MaxNesting] levels deep.
	ErrNested = fmt.Errorf("it is nested more than %d levels deep", MaxNesting)
)

// keyKind says where the key of a record is.
type keyKind uint8

const (
	keyLine keyKind = iota
	keyJSON
	keyCSV
	keyTSV
)

func (k keyKind) String() string { return [...]string{"line", "json", "csv", "tsv"}[k] }

// A field is a part of a record.
type field struct {
	name   string // a path of keyJSON; a column's name, "" where the number was given
	column int    // of keyCSV and keyTSV, the first is 1; 0 until the header is known
}

// A Key says where the key of a record is. The zero value is the whole line.
type Key struct {
	kind   keyKind
	text   string // what ParseKey read, "" for a line
	fields []field
	except bool // the key is all but the fields
	opts   Options
}

// Options say how fields are cut, and which differences between keys don't count.
// The zero value is the usual.
type Options struct {
	// Delimiter ends a field of csv and tsv; 0 is a comma for csv and a tab for tsv.
	Delimiter byte
	// NUL says that a zero byte ends a record instead of a line feed.
	NUL bool
	// Skip is how many characters at the beginning of each field don't count.
	Skip int
	// Trim takes white space off both ends of each field, after Skip.
	Trim bool
	// IgnoreCase makes equal what strings.EqualFold calls equal.
	IgnoreCase bool
}

// changes reports whether a field's text is not the key as it is.
func (o Options) changes() bool { return o.Skip > 0 || o.Trim || o.IgnoreCase }

// String returns what ParseKey reads.
func (k Key) String() string {
	if k.kind == keyLine {
		return "line"
	}
	return k.text
}

// Options returns what With was given.
func (k Key) Options() Options { return k.opts }

// Fields returns how many fields the key has, 0 when it is all but some.
func (k Key) Fields() int {
	if k.except {
		return 0
	}
	return max(1, len(k.fields))
}

// With returns the key with other options, or an error that says which one does
// not go with it.
func (k Key) With(o Options) (Key, error) {
	if o.Delimiter != 0 && k.kind != keyCSV && k.kind != keyTSV {
		return k, fmt.Errorf("a delimiter is for csv and tsv keys, not for %q", k)
	}
	switch o.Delimiter {
	case '"', '\n', '\r':
		return k, fmt.Errorf("%q can't be a delimiter", o.Delimiter)
	}
	if o.Skip < 0 {
		return k, fmt.Errorf("%d characters can't be skipped", o.Skip)
	}
	k.opts = o
	return k, nil
}

// Format returns how a stream of records with such keys is cut.
func (k Key) Format() Format {
	return Format{CSV: k.kind == keyCSV, Delimiter: k.delimiter(), NUL: k.opts.NUL}
}

func (k Key) delimiter() byte {
	switch {
	case k.opts.Delimiter != 0:
		return k.opts.Delimiter
	case k.kind == keyTSV:
		return '\t'
	}
	return ','
}

// body is rec without its end: a field is the same whatever line ends its file
// has, but a carriage return belongs to a line.
func (k Key) body(rec []byte) []byte {
	if k.opts.NUL {
		return bytes.TrimSuffix(rec, []byte{0})
	}
	rec = bytes.TrimSuffix(rec, []byte{'\n'})
	if k.kind == keyCSV || k.kind == keyTSV {
		// At the end of a stream it can stand without the line feed.
		rec = bytes.TrimSuffix(rec, []byte{'\r'})
	}
	return rec
}

// Append extracts the key of rec, a record as a Reader gives it, and appends it
// to dst as AppendKey encodes it. For a record that has no key the error says why,
// and dst is as it was. A line always has a key.
//
//   - line: the bytes before the line's end; a carriage return is part of it.
//   - json: the text of a string, or else the value as it is written. So 1 and
//     "1" are one key, 1 and 1.0 are two. Of two members with one name the first
//     counts. A value is empty when it holds nothing but null, "", [] and {}.
//   - csv: the field's bytes with its quotes taken off. Line ends in a quoted
//     field stay as they are.
//   - tsv: the field's bytes.
//
// The key of several fields is each of them behind its length, so that no two
// rows of fields meet. A field that is absent is like one that is empty; when all
// are, there is no key.
func (k Key) Append(dst, rec []byte) ([]byte, error) {
	rec = k.body(rec)
	if k.kind == keyLine && !k.opts.changes() {
		return AppendKey(dst, rec), nil
	}
	if k.kind == keyJSON {
		if err := checkJSON(rec); err != nil {
			return dst, err
		}
	}
	from, any := len(dst), k.kind == keyLine
	var err error
	switch {
	case k.except && k.kind == keyJSON:
		dst, any, err = k.appendMembers(dst, rec)
	case k.except:
		dst, any = k.appendOthers(dst, rec)
	case len(k.fields) > 1:
		dst, any = k.appendSeveral(dst, rec)
	default:
		dst = k.opts.change(k.appendField(dst, rec, k.onlyField()), from)
		any = any || len(dst) > from
	}
	if err == nil && !any {
		err = ErrAbsent
	}
	if err != nil {
		return dst[:from], err
	}
	return encodeInPlace(dst, from), nil
}

func (k Key) onlyField() field {
	if k.kind == keyLine {
		return field{}
	}
	return k.fields[0]
}

// AppendTexts is Append for the texts of the fields instead of a record.
func (k Key) AppendTexts(dst []byte, texts ...[]byte) ([]byte, error) {
	switch {
	case k.except && k.kind == keyJSON:
		return dst, fmt.Errorf("the key %q can't be given as text", k)
	case !k.except && len(texts) != max(1, len(k.fields)):
		return dst, fmt.Errorf("the key %q has %d fields, not %d", k, max(1, len(k.fields)), len(texts))
	}
	from := len(dst)
	for _, text := range texts {
		at := len(dst)
		dst = k.opts.change(append(dst, text...), at)
		if k.except || len(k.fields) > 1 {
			dst = insertLength(dst, at)
		}
	}
	return encodeInPlace(dst, from), nil
}

// appendField appends one field of rec, or nothing when it is not there.
func (k Key) appendField(dst, rec []byte, f field) []byte {
	switch k.kind {
	case keyJSON:
		return appendValue(dst, rec, f.name)
	case keyCSV, keyTSV:
		return k.appendColumn(dst, rec, f.column)
	default:
		return append(dst, rec...)
	}
}

// appendSeveral appends all fields, each behind its length.
func (k Key) appendSeveral(dst, rec []byte) (_ []byte, any bool) {
	for _, f := range k.fields {
		at := len(dst)
		dst = k.opts.change(k.appendField(dst, rec, f), at)
		any = any || len(dst) > at
		dst = insertLength(dst, at)
	}
	return dst, any
}

// insertLength puts the length of dst[at:] in front of it.
func insertLength(dst []byte, at int) []byte {
	var prefix [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(prefix[:], uint64(len(dst)-at))
	dst = append(dst, prefix[:n]...)
	copy(dst[at+n:], dst[at:])
	copy(dst[at:], prefix[:n])
	return dst
}

// encodeInPlace encodes dst[from:] as AppendKey does.
func encodeInPlace(dst []byte, from int) []byte {
	key := dst[from:]
	if len(key) > 0 && len(key) <= dedup.MaxKeyLen && key[0] != escape {
		return dst
	}
	// The encoding starts with other bytes than the key, which lies where it
	// has to go: rare enough for a copy.
	return AppendKey(dst[:from], bytes.Clone(key))
}
