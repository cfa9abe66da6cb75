//go:build !linux

package engine

func childFull(childConfig, *childOutput) {}
