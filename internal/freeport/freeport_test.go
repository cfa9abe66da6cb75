package freeport

import (
	"net"
	"strconv"
	"testing"
)

// TestGet: a port can be listened on, is not one of outgoing connections, and is given
// once.
func TestGet(t *testing.T) {
	seen := map[int]bool{}
	for range 200 {
		port, err := Get()
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] || port < first || port >= first+count {
			t.Fatalf("port %d: given before %v", port, seen[port])
		}
		seen[port] = true
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
}
