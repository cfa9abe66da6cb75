package main

import (
	"testing"
	"time"
)

func TestWindowFlag(t *testing.T) {
	f := func(s string, want time.Duration, shown string) {
		t.Helper()
		var w windowFlag
		if err := w.Set(s); err != nil || time.Duration(w) != want || w.String() != shown {
			t.Fatalf("%q: got %v, shown as %q, %v", s, time.Duration(w), w.String(), err)
		}
	}
	f("24h", 24*time.Hour, "24h")
	f("90m", 90*time.Minute, "1h30m")
	f("7d", 168*time.Hour, "7d")
	f("1.5d", 36*time.Hour, "1d12h")
	f("1w2d12h30m", 9*24*time.Hour+12*time.Hour+30*time.Minute, "9d12h30m")
	f("10s", 10*time.Second, "10s")
	f("20m", 20*time.Minute, "20m")
	f("10h", 10*time.Hour, "10h")
	bad := func(s string) {
		t.Helper()
		var w windowFlag
		if err := w.Set(s); err == nil {
			t.Fatalf("%q: got %v, want an error", s, time.Duration(w))
		}
	}
	bad("")
	bad("0s")
	bad("-1h")
	bad("7")
	bad("d")
	bad("1..2d")
	bad("999999999w")
	bad("24 h")
}
