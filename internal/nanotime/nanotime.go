// Package nanotime bounds the times that an engine counts with, in ns since 1970, so
// that no sum of two of them overflows. Its functions are pure.
package nanotime

import (
	"fmt"
	"math"
	"time"
)

const (
	// MaxSpan is the longest window, lease and extension of one.
	MaxSpan = 100 * 365 * 24 * time.Hour
	// Max is where an engine's clock ends, in the year 2162: MaxSpan later is still
	// an int64 of ns.
	Max = math.MaxInt64 - int64(MaxSpan)
)

// Of returns t in ns since 1970; ok is false for a time that an engine does not count
// with: before 1970, or after Max.
func Of(t time.Time) (ns int64, ok bool) {
	if s := t.Unix(); s < 0 || s >= Max/int64(time.Second) {
		return 0, false
	}
	return t.UnixNano(), true
}

// RangeError is the error of a clock that says t, for which Of is not ok.
func RangeError(t time.Time) error {
	return fmt.Errorf("the clock says %v, it must be a time from 1970 to %d", t.UTC(), time.Unix(0, Max).UTC().Year())
}

// Add returns t plus d, kept between 0 and Max.
func Add(t, d int64) int64 {
	if d > Max-t {
		return Max
	}
	return t + max(d, -t)
}
