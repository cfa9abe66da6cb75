package jsonkey

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Hash returns the SHA-256 of doc in canonical form (RFC 8785), so that order of
// names, white space, escapes and the way to write a number don't count. Members
// named by omit are left out first: JSON pointers (RFC 6901) such as
// "/meta/sent_at", for what differs between two tries to send the same message. A
// pointer to an element of a list, or to nothing, leaves nothing out.
//
// RFC 8785 rounds numbers to doubles. Here one that would be changed by that,
// such as 9007199254740993, gives ErrInvalid: two different orders must not get
// one key. Write such numbers as texts, or leave them out.
func Hash(doc []byte, omit ...string) ([sha256.Size]byte, error) {
	b, err := Canonical(doc, omit...)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	return sha256.Sum256(b), nil
}

// Canonical returns what Hash hashes.
func Canonical(doc []byte, omit ...string) ([]byte, error) {
	var kept bytes.Buffer
	if err := copyWithout(&kept, doc, omit); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	v := jsontext.Value(kept.Bytes())
	if err := v.Canonicalize(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return v, nil
}

// copyWithout copies one value from doc, and nothing else may be there.
func copyWithout(to *bytes.Buffer, doc []byte, omit []string) error {
	left := make(map[jsontext.Pointer]bool, len(omit))
	for _, p := range omit {
		left[jsontext.Pointer(p)] = true
	}
	dec, enc := jsontext.NewDecoder(bytes.NewReader(doc)), jsontext.NewEncoder(to)
	for values := 0; ; {
		t, err := dec.ReadToken()
		switch {
		case errors.Is(err, io.EOF) && values == 1:
			return nil
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		case values == 1:
			return errors.New("more than one value")
		}
		if t.Kind() == '0' && !exact(t.String()) {
			return fmt.Errorf("number %.40s at %q can't be held by a double", t.String(), dec.StackPointer())
		}
		// A name is the odd one in its object.
		if kind, n := dec.StackIndex(dec.StackDepth()); kind == '{' && n%2 == 1 && len(left) > 0 && left[dec.StackPointer()] {
			if err := dec.SkipValue(); err != nil {
				return err
			}
			continue
		}
		if err := enc.WriteToken(t); err != nil {
			return err
		}
		if dec.StackDepth() == 0 {
			values++
		}
	}
}

// exact says whether the double next to a number has the same shortest decimal
// digits.
func exact(number string) bool {
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return false
	}
	d1, e1, ok1 := decimal(number)
	d2, e2, ok2 := decimal(strconv.FormatFloat(f, 'e', -1, 64))
	return ok1 && ok2 && d1 == d2 && e1 == e2
}

// decimal returns a number's digits without zeros at both ends, and the power of
// ten of the last one. Zero has no digits.
func decimal(number string) (digits string, exp int, ok bool) {
	mantissa := strings.TrimPrefix(number, "-")
	if i := strings.IndexAny(mantissa, "eE"); i >= 0 {
		n, err := strconv.Atoi(mantissa[i+1:])
		if err != nil {
			return "", 0, false
		}
		mantissa, exp = mantissa[:i], n
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits, exp = strings.TrimLeft(whole+fraction, "0"), exp-len(fraction)
	trimmed := strings.TrimRight(digits, "0")
	if trimmed == "" {
		return "", 0, true
	}
	return trimmed, exp + len(digits) - len(trimmed), true
}
