package mem

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

// TestGroupLimit: the least limit on the way up counts, of either version; files that are not
// there, or say "max", limit nothing.
func TestGroupLimit(t *testing.T) {
	f := func(groups string, files map[string]string, want int64) {
		t.Helper()
		root := t.TempDir()
		for name, text := range files {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := groupLimit(root, groups); got != want {
			t.Errorf("%q with %v: %d, want %d", groups, files, got, want)
		}
	}
	const none = math.MaxInt64
	f("", nil, none)
	f("0::/a/b\n", map[string]string{"a/b/memory.max": "max\n"}, none)
	f("0::/a/b\n", map[string]string{"a/b/memory.max": "1000\n", "a/memory.max": "900\n"}, 900)
	f("0::/../x\n", map[string]string{"memory.max": "700\n"}, 700)
	f("0::/gone\n", map[string]string{"memory.max": "700\n"}, 700)
	f("4:memory:/a\n0::/\n", map[string]string{"memory/a/memory.limit_in_bytes": "800\n", "memory.max": "max\n"}, 800)
	f("4:cpu,memory:/a\n", map[string]string{"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 9223372036854771712)
	f("4:cpu:/a\n", map[string]string{"memory/a/memory.limit_in_bytes": "800\n"}, none)
	f("nonsense\n", map[string]string{"memory.max": "nonsense"}, none)
	if limit := Limit(); limit <= 1<<20 || limit == math.MaxInt64 {
		t.Errorf("the limit of this process is %d", limit)
	}
}
