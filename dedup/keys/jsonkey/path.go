package jsonkey

import (
	"errors"
	"fmt"

	"github.com/tidwall/gjson"
)

// ErrNoKey: the document is sound and has no key at the path. It is absent,
// null or the empty text; these three are never told apart.
var ErrNoKey = errors.New("jsonkey: no key")

// ErrInvalid: the document is not JSON, or what it has can't be a key.
var ErrInvalid = errors.New("jsonkey: invalid document")

// Path returns the value at path (the syntax of gjson: "order.id",
// "items.0.sku"): of a text its characters, of a number and of true and false
// what stands in the document, to the last digit. So the number 17 and the text
// "17" are the same key, 17 and 17.0 are not. An object or a list gives
// ErrInvalid.
func Path(doc []byte, path string) ([]byte, error) {
	if !gjson.ValidBytes(doc) {
		return nil, fmt.Errorf("%w: not JSON", ErrInvalid)
	}
	r := gjson.GetBytes(doc, path)
	switch r.Type {
	case gjson.Null: // absent too
	case gjson.String:
		if r.Str != "" {
			return []byte(r.Str), nil
		}
	case gjson.JSON:
		return nil, fmt.Errorf("%w: %s is an object or a list", ErrInvalid, path)
	default:
		return []byte(r.Raw), nil
	}
	return nil, fmt.Errorf("%w at %s", ErrNoKey, path)
}
