package main

import (
	"runtime/debug"

	"github.com/firstseen/firstseen/engine"
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
