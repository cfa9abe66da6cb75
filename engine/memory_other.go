//go:build !linux

package engine

func machineMemory() float64 { return unknownMemory }
