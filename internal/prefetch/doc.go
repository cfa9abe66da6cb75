// Package prefetch asks the processor to bring cache lines in before they are
// read.
//
// A look-up of a batch of keys in a table far larger than the cache waits for
// memory once per key. When the addresses of the whole batch are prefetched first
// the waits overlap, and a key costs about as much as memory bandwidth allows
// instead of its latency: 16 to 20 ns instead of 200 to 400.
//
// A prefetch is a hint. It reads nothing the program can see, never faults and
// never races, so it may run beside anything, without a lock. On
// processors other than amd64 and arm64, and under the build tag purego, it
// does nothing.
package prefetch
