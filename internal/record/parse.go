package record

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ParseKey reads "line", "json:PATH", "csv:COLUMN" or "tsv:COLUMN". Several paths
// or columns are separated by commas and make one key; behind a "^" they are what
// the key leaves out. PATH is a path in the syntax of gjson; behind a "^" it is the
// name of a member. COLUMN is a number from 1, or a name in the header: in quotes if
// it is a number or holds a comma.
func ParseKey(s string) (Key, error) {
	if s == "line" {
		return Key{}, nil
	}
	name, rest, _ := strings.Cut(s, ":")
	k := Key{text: s}
	switch name {
	case "json":
		k.kind = keyJSON
	case "csv":
		k.kind = keyCSV
	case "tsv":
		k.kind = keyTSV
	default:
		return Key{}, fmt.Errorf("%q is no kind of key; use line, json:PATH, csv:COLUMN or tsv:COLUMN", s)
	}
	rest, k.except = strings.CutPrefix(rest, "^")
	var err error
	if k.kind == keyJSON {
		k.fields, err = parsePaths(rest)
	} else {
		k.fields, err = parseColumns(rest)
	}
	if err != nil {
		return Key{}, fmt.Errorf("%q %w", s, err)
	}
	for i, f := range k.fields {
		if slices.Contains(k.fields[:i], f) {
			return Key{}, fmt.Errorf("%q names a field twice", s)
		}
		if k.except && k.kind == keyJSON {
			k.fields[i].name = unescapeMember(f.name)
		}
	}
	return k, nil
}

var (
	errNoPath   = errors.New("names no path; write for example json:user.id")
	errNoColumn = errors.New(`names no column; write for example csv:1, where the first column is 1, or csv:user, where the header names it`)
)

// parsePaths cuts a list at its commas, but not within brackets, quotes, or behind
// a backslash, where they belong to a path.
func parsePaths(s string) (paths []field, err error) {
	depth, quoted, from := 0, false, 0
	for i := 0; i <= len(s); i++ {
		switch {
		case i == len(s), s[i] == ',' && depth <= 0 && !quoted:
			if i == from {
				return nil, errNoPath
			}
			paths = append(paths, field{name: s[from:i]})
			from = i + 1
		case s[i] == '\\':
			i = min(i+1, len(s)-1)
		case s[i] == '"':
			quoted = !quoted
		case quoted:
		case s[i] == '(' || s[i] == '[' || s[i] == '{':
			depth++
		case s[i] == ')' || s[i] == ']' || s[i] == '}':
			depth--
		}
	}
	return paths, nil
}

// unescapeMember takes the backslashes off that a path needs.
func unescapeMember(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '\\' && i+1 < len(path) {
			i++
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

func parseColumns(s string) (columns []field, err error) {
	for rest, more := []byte(s), true; more; {
		n, closed := csvFieldLen(rest, ',')
		if n == 0 || !closed {
			return nil, errNoColumn
		}
		text := string(appendUnquoted(nil, rest[:n]))
		f := field{name: text}
		if rest[0] != '"' && (text[0] >= '0' && text[0] <= '9' || text[0] == '-') {
			number, err := strconv.ParseUint(text, 10, 31)
			switch {
			case err == nil && number > 0:
				f = field{column: int(number)}
			case err == nil || errors.Is(err, strconv.ErrRange) || text[0] == '-':
				return nil, errNoColumn
			}
		}
		if f.name == "" && f.column == 0 {
			return nil, errNoColumn
		}
		columns = append(columns, f)
		if more = n < len(rest); more {
			rest = rest[n+1:]
		}
	}
	return columns, nil
}

// NeedsHeader reports whether the key names columns, which only a header can tell.
func (k Key) NeedsHeader() bool {
	return (k.kind == keyCSV || k.kind == keyTSV) &&
		slices.ContainsFunc(k.fields, func(f field) bool { return f.name != "" })
}

// Resolve returns the key with the columns that header, a record, gives to its
// names. Names count byte for byte.
func (k Key) Resolve(header []byte) (Key, error) {
	if !k.NeedsHeader() {
		return k, nil
	}
	var names [][]byte
	for rest, more := k.body(header), true; more; {
		var text []byte
		text, rest, more = k.nextField(rest)
		names = append(names, k.unquoted(nil, text))
	}
	fields := slices.Clone(k.fields)
	for i, f := range fields {
		if f.name == "" {
			continue
		}
		at := slices.IndexFunc(names, func(n []byte) bool { return string(n) == f.name })
		if at < 0 {
			return k, fmt.Errorf("its header names no column %q, only %.200q", f.name, names)
		}
		if slices.ContainsFunc(names[at+1:], func(n []byte) bool { return bytes.Equal(n, names[at]) }) {
			return k, fmt.Errorf("its header names two columns %q; give the number of one", f.name)
		}
		fields[i].column = at + 1
	}
	k.fields = fields
	return k, nil
}
