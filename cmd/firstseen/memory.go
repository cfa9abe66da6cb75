package main

import (
	"runtime/debug"

	"github.com/firstseen/firstseen/engine"
	"github.com/firstseen/firstseen/internal/mem"
)

// commandMemory is what the command needs beside the engine: batches, buffers, and
// what the collector has not collected yet.
const commandMemory = 24 << 20

// minMemory is the least that makes sense: with less the engine would flush all the time.
const minMemory = 40 << 20

// apply bounds the memory of the process, when the flag is given.
func (n sizeFlag) apply(opts *engine.Options) {
	if n == 0 {
		return
	}
	opts.MemoryBudget = max(1, int64(n)-commandMemory)
	debug.SetMemoryLimit(int64(n))
}

// Without --memory a filter gets what was measured to be as fast as more: tables that
// mostly stay in the processor's caches, and some more the more records there are. Where
// their number is not known, as in a pipe, it is taken for pipeRecords.
const (
	usualMemory     = 84 << 20
	memoryPerRecord = 16
	pipeRecords     = 10_000_000
	claimMemory     = 16 << 20 // on top, for a directory
)

// usualFilterMemory is the memory for a filter of so many records; 0: they are not known.
func usualFilterMemory(records uint64) sizeFlag {
	if records == 0 {
		records = pipeRecords
	}
	n := sizeFlag(min(usualMemory+memoryPerRecord*records, 1<<40))
	if limit := mem.Limit(); limit > 0 {
		n = max(minMemory, min(n, sizeFlag(limit/2)))
	}
	return n
}
