package nanotime

import (
	"math"
	"testing"
	"time"
)

func TestOf(t *testing.T) {
	f := func(at time.Time, want int64, ok bool) {
		t.Helper()
		if got, is := Of(at); got != want || is != ok {
			t.Errorf("%v: %d, %v, want %d, %v", at, got, is, want, ok)
		}
	}
	f(time.Unix(0, 0), 0, true)
	f(time.Unix(1, 5), 1_000_000_005, true)
	f(time.Unix(0, -1), 0, false)
	f(time.Unix(Max/int64(time.Second)-1, 0), Max/1e9*1e9-1e9, true)
	f(time.Unix(Max/int64(time.Second), 0), 0, false)
	f(time.Time{}, 0, false)
}

func TestAdd(t *testing.T) {
	f := func(at, d, want int64) {
		t.Helper()
		if got := Add(at, d); got != want {
			t.Errorf("%d + %d: %d, want %d", at, d, got, want)
		}
	}
	f(5, 7, 12)
	f(5, -3, 2)
	f(5, -7, 0)
	f(5, math.MinInt64, 0)
	f(Max, 1, Max)
	f(5, math.MaxInt64, Max)
	f(Max-5, 5, Max)
}
