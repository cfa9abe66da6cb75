package dedup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// errEncode: a value has no JSON. Every later run would end the same, so it is
// an answer.
type errEncode struct{ err error }

func (e errEncode) Error() string { return "dedup: encoding the answer: " + e.err.Error() }
func (e errEncode) Unwrap() error { return e.err }

// DoValue is Do for an fn that returns a value. The value is kept as JSON
// ([encoding/json]), so what a replay returns is what JSON makes of it. A value
// without JSON is a *FinalError: fn has run, and is not run again. A key that
// was marked without a value, by other means than DoValue, is ErrResultLost.
func DoValue[T any](ctx context.Context, g Guard, key []byte, fn func(context.Context) (T, error), opts DoOptions) (value T, replayed bool, err error) {
	final := opts.Final
	opts.Final = func(err error) bool {
		var bad errEncode
		return errors.As(err, &bad) || final != nil && final(err)
	}
	a, err := Do(ctx, g, key, func(ctx context.Context) ([]byte, error) {
		v, err := fn(ctx)
		if err != nil {
			return nil, err
		}
		value = v
		b, err := json.Marshal(v)
		if err != nil {
			return nil, errEncode{err}
		}
		return b, nil
	}, opts)
	switch {
	case err != nil || !a.Replayed:
		return value, a.Replayed, err
	case a.Result == nil:
		return value, true, fmt.Errorf("%w: the key was marked without a value", ErrResultLost)
	}
	if err := json.Unmarshal(a.Result, &value); err != nil {
		var zero T
		return zero, true, fmt.Errorf("dedup: decoding the answer: %w", err)
	}
	return value, true, nil
}
