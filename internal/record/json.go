package record

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// MaxNesting is how many arrays and objects may be open at a time in a JSON
// document that has a key. It bounds the stack; encoding/json has the same limit.
const MaxNesting = 10_000

// checkJSON reports why doc is no JSON document to look for a key in. gjson
// answers for damaged ones too, from the part it can read, and a line cut short would
// then hide the whole one that comes after it.
func checkJSON(doc []byte) error {
	switch {
	case tooDeep(doc):
		return ErrNested
	case !gjson.ValidBytes(doc):
		return ErrNoJSON
	}
	return nil
}

// tooDeep reports whether doc is nested too deep for functions that call themselves.
func tooDeep(doc []byte) bool {
	if len(doc) <= MaxNesting || bytes.Count(doc, []byte{'['})+bytes.Count(doc, []byte{'{'}) <= MaxNesting {
		return false
	}
	depth, quoted := 0, false
	for i := 0; i < len(doc); i++ {
		switch c := doc[i]; {
		case quoted:
			if c == '\\' {
				i++
			}
			quoted = c != '"'
		case c == '"':
			quoted = true
		case c == '[' || c == '{':
			if depth++; depth > MaxNesting {
				return true
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return false
}

// appendValue appends the value at path of doc to dst: nothing when it is absent,
// null or empty.
func appendValue(dst, doc []byte, path string) []byte {
	return appendJSON(dst, gjson.GetBytes(doc, path))
}

func appendJSON(dst []byte, v gjson.Result) []byte {
	switch {
	case holdsNothing(v):
		return dst
	case v.Type == gjson.String:
		return appendString(dst, v)
	case v.Raw == "": // a number that gjson counted
		return append(dst, v.String()...)
	}
	return append(dst, v.Raw...)
}

// holdsNothing reports whether v is absent, null or empty: an array or object is
// when all that it holds is. What a path builds of absent fields is such a one.
func holdsNothing(v gjson.Result) bool {
	switch {
	case v.Type == gjson.Null:
		return true
	case v.Type == gjson.String:
		return v.Str == ""
	case !v.IsArray() && !v.IsObject():
		return false
	}
	nothing := true
	v.ForEach(func(_, member gjson.Result) bool {
		nothing = holdsNothing(member)
		return nothing
	})
	return nothing
}

// appendMembers appends the members of the object doc that the key does not leave
// out, name and value, sorted by name: their order does not count.
func (k Key) appendMembers(dst, doc []byte) (_ []byte, any bool, err error) {
	object := gjson.ParseBytes(doc)
	if !object.IsObject() {
		return dst, false, ErrNoObject
	}
	type member struct {
		name  string
		value gjson.Result
	}
	var members []member
	object.ForEach(func(name, value gjson.Result) bool {
		text := string(appendString(nil, name))
		if !slices.ContainsFunc(k.fields, func(f field) bool { return f.name == text }) && !holdsNothing(value) {
			members = append(members, member{text, value})
		}
		return true
	})
	slices.SortStableFunc(members, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	// The first of equal names stays.
	members = slices.CompactFunc(members, func(a, b member) bool { return a.name == b.name })
	for _, m := range members {
		at := len(dst)
		dst = insertLength(append(dst, m.name...), at)
		at = len(dst)
		dst = insertLength(k.opts.change(appendJSON(dst, m.value), at), at)
	}
	return dst, len(members) > 0, nil
}

// appendString appends the text of a string as encoding/json reads it, but for
// bytes that are no UTF-8, which stay as they are. gjson drops what follows half a
// surrogate pair, so that different strings would become one key.
func appendString(dst []byte, v gjson.Result) []byte {
	if len(v.Raw) < 2 || v.Raw[0] != '"' || strings.IndexByte(v.Raw, '\\') < 0 {
		return append(dst, v.Str...)
	}
	s := v.Raw[1 : len(v.Raw)-1]
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 || i+1 == len(s) {
			return append(dst, s...)
		}
		dst = append(dst, s[:i]...)
		if s[i+1] == 'u' {
			var r rune
			r, s = escapedRune(s[i:])
			dst = utf8.AppendRune(dst, r)
			continue
		}
		c := s[i+1]
		if at := strings.IndexByte("bfnrt", c); at >= 0 {
			c = "\b\f\n\r\t"[at]
		}
		dst, s = append(dst, c), s[i+2:]
	}
}

// escapedRune reads the character that s begins with, as \uXXXX or as a pair of
// them. Half a pair is U+FFFD.
func escapedRune(s string) (rune, string) {
	r, rest := escapedUnit(s)
	if !utf16.IsSurrogate(r) {
		return r, rest
	}
	if strings.HasPrefix(rest, `\u`) {
		low, behind := escapedUnit(rest)
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return pair, behind
		}
	}
	return utf8.RuneError, rest
}

// escapedUnit reads one \uXXXX.
func escapedUnit(s string) (rune, string) {
	const size = len(`\uXXXX`)
	if len(s) < size {
		return utf8.RuneError, ""
	}
	n, err := strconv.ParseUint(s[2:size], 16, 16)
	if err != nil {
		return utf8.RuneError, s[size:]
	}
	return rune(n), s[size:]
}
