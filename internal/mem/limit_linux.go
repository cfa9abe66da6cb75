//go:build linux

package mem

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Limit returns how many bytes of memory this process may take: what the machine has, or less
// where a control group it is in, or one above that, allows less (memory.max of version 2,
// memory.limit_in_bytes of version 1). 0: not known.
func Limit() int64 {
	limit := int64(math.MaxInt64)
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		limit = int64(uint64(info.Totalram) * uint64(info.Unit))
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err == nil {
		limit = min(limit, groupLimit("/sys/fs/cgroup", string(groups)))
	}
	if limit == math.MaxInt64 {
		return 0
	}
	return limit
}

// groupLimit is the least limit of the groups in the text of /proc/self/cgroup: lines of
// "number:controllers:path". Where the root of the mounted hierarchy is the process's own
// group, as in a container, the path may not be there; the walk up ends at the root.
func groupLimit(root, groups string) int64 {
	limit := int64(math.MaxInt64)
	for line := range strings.Lines(groups) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		dir, name := root, "memory.max"
		if parts[1] != "" {
			if !strings.Contains(","+parts[1]+",", ",memory,") {
				continue
			}
			dir, name = filepath.Join(root, "memory"), "memory.limit_in_bytes"
		}
		for path := filepath.Clean("/" + parts[2]); ; path = filepath.Dir(path) {
			limit = min(limit, readLimit(filepath.Join(dir, path, name)))
			if path == "/" {
				break
			}
		}
	}
	return limit
}

// readLimit reads a file with a number, or "max" for none.
func readLimit(path string) int64 {
	data, err := os.ReadFile(path)
	if err != nil {
		return math.MaxInt64
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(data)), 10, 64)
	if err != nil || n <= 0 {
		return math.MaxInt64
	}
	return n
}
