package record

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/firstseen/firstseen/dedup"
)

// keyKind says where the key of a record is.
type keyKind uint8

const (
	keyLine keyKind = iota
	keyJSON
	keyCSV
	keyTSV
)

// A Key says where the key of a record is. The zero value is the whole line.
type Key struct {
	kind   keyKind
	path   string // of keyJSON
	column int    // of keyCSV and keyTSV, the first is 1
}

// ParseKey reads "line", "json:PATH", "csv:N" or "tsv:N". PATH is a path in the
// syntax of gjson, N counts from 1.
func ParseKey(s string) (Key, error) {
	kind, rest, _ := strings.Cut(s, ":")
	switch kind {
	case "line":
		if s == "line" {
			return Key{}, nil
		}
	case "json":
		if rest == "" {
			return Key{}, fmt.Errorf("%q names no path; write for example json:user.id", s)
		}
		return Key{kind: keyJSON, path: rest}, nil
	case "csv", "tsv":
		n, err := strconv.ParseUint(rest, 10, 31)
		if err != nil || n == 0 {
			return Key{}, fmt.Errorf("%q names no column; write for example %s:1, the first column is 1", s, kind)
		}
		if kind == "csv" {
			return Key{kind: keyCSV, column: int(n)}, nil
		}
		return Key{kind: keyTSV, column: int(n)}, nil
	}
	return Key{}, fmt.Errorf("%q is no kind of key; use line, json:PATH, csv:N or tsv:N", s)
}

// String returns what ParseKey reads.
func (k Key) String() string {
	switch k.kind {
	case keyJSON:
		return "json:" + k.path
	case keyCSV:
		return "csv:" + strconv.Itoa(k.column)
	case keyTSV:
		return "tsv:" + strconv.Itoa(k.column)
	}
	return "line"
}

// Format returns how a stream of records with such keys is cut.
func (k Key) Format() Format {
	if k.kind == keyCSV {
		return CSV
	}
	return Lines
}

// Append extracts the key of rec, a record as a Reader gives it, and appends it
// to dst as AppendKey encodes it. It returns false, and dst as it was, for a
// record that has no key: it is no valid JSON, the path or column is not there,
// or its value is null, empty or a string with half a surrogate pair. A line always has a key.
//
//   - line: the bytes before the line feed; a carriage return is part of it.
//   - json: the text of a string, or else the value as it is written. So 1 and
//     "1" are one key, 1 and 1.0 are two.
//   - csv: the field's bytes with its quotes taken off. Line ends in a quoted
//     field stay as they are.
//   - tsv: the field's bytes.
func (k Key) Append(dst, rec []byte) ([]byte, bool) {
	if k.kind == keyLine {
		return AppendKey(dst, bytes.TrimSuffix(rec, []byte{'\n'})), true
	}
	from, ok := len(dst), false
	switch k.kind {
	case keyJSON:
		dst, ok = jsonValue(dst, rec, k.path)
	case keyCSV:
		dst, ok = csvColumn(dst, rec, k.column)
	case keyTSV:
		dst, ok = tsvColumn(dst, rec, k.column)
	}
	if !ok || len(dst) == from {
		return dst[:from], false
	}
	field := dst[from:]
	if len(field) <= dedup.MaxKeyLen && field[0] != escape {
		return dst, true
	}
	// The encoding starts with other bytes than the field, which lies where it
	// has to go: rare enough for a copy.
	return AppendKey(dst[:from], bytes.Clone(field)), true
}

// jsonValue appends the value at path of the JSON document rec to dst.
func jsonValue(dst, rec []byte, path string) ([]byte, bool) {
	// gjson answers for damaged documents too, from the part it can read. A
	// line cut short would then hide the whole one that comes after it.
	if !gjson.ValidBytes(rec) {
		return dst, false
	}
	v := gjson.GetBytes(rec, path)
	switch v.Type {
	case gjson.Null: // absent too
		return dst, false
	case gjson.String:
		if halfPair(v) {
			return dst, false
		}
		return append(dst, v.Str...), true
	default:
		return append(dst, v.Raw...), true
	}
}

// halfPair reports whether v may hold an escaped half of a surrogate pair. That
// is no character: gjson makes all of them U+FFFD, and different strings would
// become one key.
func halfPair(v gjson.Result) bool {
	return strings.ContainsRune(v.Str, utf8.RuneError) &&
		(strings.Contains(v.Raw, `\ud`) || strings.Contains(v.Raw, `\uD`))
}

const (
	// escape begins every encoding that is not the key itself. A line never
	// holds it.
	escape = '\n'
	// digestMark after escape: a SHA-256 follows.
	digestMark = '#'
)

// AppendKey appends the encoding of a key of any length, empty included, to
// dst. It has 1 to dedup.MaxKeyLen bytes:
//
//	the key itself            it has 1 to 65,535 bytes and no line feed in front
//	"\n"                      the empty key
//	"\n\n" and the rest       it begins with a line feed, and has up to 65,534 bytes
//	"\n#" and its SHA-256     longer keys, 34 bytes
//
// No two rows can meet, so different keys have different encodings (two long
// keys as surely as SHA-256 has no collision). Only the last row needs the whole
// key to be read.
func AppendKey(dst, key []byte) []byte {
	switch {
	case len(key) == 0:
		return append(dst, escape)
	case key[0] != escape && len(key) <= dedup.MaxKeyLen:
		return append(dst, key...)
	case key[0] == escape && len(key) < dedup.MaxKeyLen:
		return append(append(dst, escape), key...)
	default:
		sum := sha256.Sum256(key)
		return append(append(dst, escape, digestMark), sum[:]...)
	}
}
