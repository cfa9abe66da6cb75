//go:build !linux

package bench

func cpuName() string                   { return "unknown" }
func kernelRelease() string             { return "" }
func totalMemory() int64                { return 0 }
func fileSystem(string) (string, int64) { return "unknown", 0 }
