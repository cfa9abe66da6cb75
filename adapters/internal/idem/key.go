package idem

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dunglas/httpsfv"
)

// ParseKey returns the idempotency key in a header or in metadata, or "" where
// there is none. The value is a String of Structured Fields (RFC 9651), in
// quotes, as the IETF draft has it, or bare, as most services have it; both forms
// of one key are the same key. name is what errors call it.
func ParseKey(values []string, name string, maxLen int) (string, error) {
	switch {
	case len(values) == 0:
		return "", nil
	case len(values) > 1:
		return "", fmt.Errorf("the header %s is there %d times; send it once", name, len(values))
	}
	value := strings.Trim(values[0], " \t")
	key := value
	if strings.HasPrefix(value, `"`) {
		item, err := httpsfv.UnmarshalItem([]string{value})
		if err != nil {
			return "", fmt.Errorf("the value of %s begins with a quote, but is no String of Structured Fields", name)
		}
		key, _ = item.Value.(string)
		if len(item.Params.Names()) > 0 {
			return "", fmt.Errorf("the value of %s has parameters; send the key alone", name)
		}
	} else if err := checkBare(value); err != nil {
		return "", fmt.Errorf("the value of %s %w", name, err)
	}
	if key == "" {
		return "", fmt.Errorf("the value of %s is empty", name)
	}
	if len(key) > maxLen {
		return "", fmt.Errorf("the value of %s has %d bytes, at most %d are allowed", name, len(key), maxLen)
	}
	return key, nil
}

// checkBare accepts what can't be mistaken for a list or for a quoted string.
func checkBare(value string) error {
	for i := range len(value) {
		switch c := value[i]; {
		case c <= ' ' || c >= 0x7f:
			return errors.New("holds a space, a control character or a character outside ASCII; put it in quotes or send another")
		case c == '"' || c == ',' || c == '\\':
			return fmt.Errorf("holds %q; put it in quotes", c)
		}
	}
	return nil
}
