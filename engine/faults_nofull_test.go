//go:build !linux

package engine

func childFull(childConfig, *childOutput)    {}
func childStopped(childConfig, *childOutput) {}
