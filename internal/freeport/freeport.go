// Package freeport finds ports for servers that are told their port when they start.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// The range lies below the one that systems take ports of outgoing connections from: one
// of those would not be free any more when the server starts, some milliseconds later.
const (
	first = 10_000
	count = 10_000
)

var given sync.Map // what this process was given already, to true

// Get returns a port of 127.0.0.1 that nobody listens on, and that it has not returned
// before. Another process could still take it; of the few that look here, at random
// places, hardly one does.
func Get() (int, error) {
	var last error
	for range 100 {
		port := first + rand.IntN(count)
		if _, again := given.LoadOrStore(port, true); again {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			last = err
			continue
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("no free port from %d to %d: %w", first, first+count-1, last)
}
