package local

import (
	"errors"

	"github.com/firstseen/firstseen/dedup"
)

// odd errors are those of single keys or claims.
var odd = []error{dedup.ErrKeyInvalid, dedup.ErrLeaseLost, dedup.ErrResultTooLarge, dedup.ErrResultLost}

// oddOnes returns the positions that err names.
func oddOnes(err error) map[int]bool {
	if err == nil {
		return nil
	}
	is := make(map[int]bool)
	for _, target := range odd {
		for _, i := range dedup.IndexesOf(err, target) {
			is[i] = true
		}
	}
	return is
}

// onlyOdd says whether err consists of errors of single keys or claims.
func onlyOdd(err error) bool {
	switch e := err.(type) { //nolint:errorlint // the tree is walked by hand, one level at a time
	case *dedup.KeyError, *dedup.LeaseError, *dedup.ResultError:
		return true
	case interface{ Unwrap() []error }:
		for _, sub := range e.Unwrap() {
			if !onlyOdd(sub) {
				return false
			}
		}
		return true
	}
	inner := errors.Unwrap(err)
	return inner != nil && onlyOdd(inner)
}

// moved is err with the positions among the keys that the store was asked for turned
// into those in the batch.
func moved(err error, at []int) error {
	switch e := err.(type) { //nolint:errorlint // the tree is rebuilt by hand
	case nil:
		return nil
	case *dedup.KeyError:
		return &dedup.KeyError{Index: at[e.Index], Len: e.Len}
	case *dedup.ResultError:
		return &dedup.ResultError{Index: at[e.Index], Err: e.Err}
	case interface{ Unwrap() []error }:
		var all []error
		for _, sub := range e.Unwrap() {
			all = append(all, moved(sub, at))
		}
		return errors.Join(all...)
	}
	if onlyOdd(err) { // what was wrapped around it would go on naming the old ones
		return moved(errors.Unwrap(err), at)
	}
	return err
}
