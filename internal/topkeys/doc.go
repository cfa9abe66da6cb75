// Package topkeys finds the keys that a stream repeats most, in bounded memory.
//
// A [Sketch] is the Space-Saving algorithm (Metwally, Agrawal, El Abbadi, "Efficient
// computation of frequent and top-k elements in data streams", 2005): it holds a fixed
// number of counters, and a key that has none takes over the smallest. A count is never
// too small, and too large by at most what the counter held when the key took it over,
// which is known for each and at most the number of all keys divided by the number of
// counters. While there are fewer different keys than counters all counts are exact.
//
// A Sketch belongs to one goroutine. It does not forget: counts are over the whole stream.
package topkeys
