package rocketkey

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	var c Chooser
	f := func(keys []string, unique, origin, want string) {
		t.Helper()
		if got := c.Choose(keys, unique, origin); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	f([]string{"order-1", "x"}, "U", "O", "order-1")
	f([]string{"", "x"}, "U", "O", "x")
	f(nil, "U", "O", "U")
	f(nil, "", "O", "O")
	f(nil, "", "", "")
}

// TestWeakIDs: ids that repeat are warned of once and counted always, and only
// where there is nothing better.
func TestWeakIDs(t *testing.T) {
	var log bytes.Buffer
	c := Chooser{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	const goV2, java, v5 = "7F0000012A3B000000001A2B3C4D0001", "7F0000012A3B18B4AAC21A2B3C4D0001", "01A2B3C4D5E6F70001054E8D5D00000001"
	for range 3 {
		c.Choose(nil, goV2, "")
	}
	c.Choose(nil, java, "")
	c.Choose(nil, v5, "")
	c.Choose([]string{"k"}, goV2, "")
	if c.Weak() != 3 {
		t.Errorf("%d counted, want 3", c.Weak())
	}
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "KEYS") {
		t.Errorf("%d lines: %s", n, log.String())
	}
	if MadeByGoV2(strings.ToLower(goV2)+"0") || MadeByGoV2("7F0000012A3B00000000 A2B3C4D0001") {
		t.Error("no id of the Go client")
	}
}
