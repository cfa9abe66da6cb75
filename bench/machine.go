package bench

import (
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sort"
)

// A Machine is where a report was made.
type Machine struct {
	CPU        string   `json:"cpu"`
	Cores      int      `json:"cores"`
	GoMaxProcs int      `json:"gomaxprocs"`
	Memory     int64    `json:"memory_bytes"`
	System     string   `json:"system"`
	Go         string   `json:"go"`
	Disk       string   `json:"disk"` // file system of the benchmark's directory
	DiskFree   int64    `json:"disk_free_bytes"`
	Modules    []string `json:"modules"` // "path version" of what was measured
}

// ThisMachine describes the machine, and the modules that configs use.
func ThisMachine(configs []Config) Machine {
	m := Machine{
		CPU: cpuName(), Cores: runtime.NumCPU(), GoMaxProcs: runtime.GOMAXPROCS(0), Memory: totalMemory(),
		System: runtime.GOOS + "/" + runtime.GOARCH + kernelRelease(), Go: runtime.Version(),
	}
	dir := os.TempDir()
	var used []string
	for _, c := range configs {
		used = append(used, c.Candidate.Modules...)
		if c.Dir != "" {
			dir = c.Dir
		}
	}
	m.Disk, m.DiskFree = fileSystem(dir)
	m.Modules = versions(used)
	return m
}

// versions looks paths up in the program's own list of modules. A test binary
// has none.
func versions(paths []string) []string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	var out []string
	for _, dep := range info.Deps {
		if slices.Contains(paths, dep.Path) {
			out = append(out, dep.Path+" "+dep.Version)
		}
	}
	sort.Strings(out)
	return out
}
