package main

import (
	"os"
	"testing"

	"github.com/firstseen/firstseen/engine"
)

// TestFilterRefresh: the option reaches the engine, whose own test has the windows, the
// flushes and the kills.
func TestFilterRefresh(t *testing.T) {
	for _, refresh := range []bool{true, false} {
		for _, dir := range []string{"", t.TempDir()} {
			o := filterFlags{dir: dir, refresh: refresh}
			var opts engine.Options
			o.tune(&app{err: os.Stderr}, &opts, t.TempDir(), true, nil)
			if opts.Refresh != refresh {
				t.Fatalf("--refresh %v becomes %v", refresh, opts.Refresh)
			}
		}
	}
	must(t, nil, "filter", "--refresh", write(t, []byte("a\n")))
}
