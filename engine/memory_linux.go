package engine

import "golang.org/x/sys/unix"

// machineMemory is the memory of the machine in bytes.
func machineMemory() float64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return unknownMemory
	}
	return float64(info.Totalram) * float64(info.Unit)
}
