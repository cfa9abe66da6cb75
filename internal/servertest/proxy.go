package servertest

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// A Proxy stands between clients and a server. It cuts connections, and leads
// clients to another server after a failover. Its methods may be called by any
// number of goroutines at once.
type Proxy struct {
	l net.Listener

	mu struct {
		sync.Mutex
		target string
		conns  map[net.Conn]struct{} // the clients' sides; guarded by mu
	}
}

// NewProxy starts a proxy to the address target that ends with the test.
func NewProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{l: l}
	p.mu.target, p.mu.conns = target, map[net.Conn]struct{}{}
	var serving sync.WaitGroup
	serving.Go(p.serve)
	tb.Cleanup(func() {
		p.Close()
		serving.Wait()
	})
	return p
}

// Addr is where clients connect.
func (p *Proxy) Addr() string { return p.l.Addr().String() }

// serve accepts connections until Close. Each has two goroutines that end with it.
func (p *Proxy) serve() {
	for {
		in, err := p.l.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		target := p.mu.target
		p.mu.conns[in] = struct{}{}
		p.mu.Unlock()
		go p.connect(in, target)
	}
}

func (p *Proxy) connect(in net.Conn, target string) {
	defer p.forget(in)
	out, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer out.Close()
	go func() {
		defer out.Close()
		transfer(out, in)
	}()
	transfer(in, out)
}

func (p *Proxy) forget(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.mu.conns, c)
}

// transfer doesn't use splice, so that a cut comes between any two writes.
func transfer(to, from net.Conn) {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// Cut ends each connection with the given probability.
func (p *Proxy) Cut(probability float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.mu.conns {
		if rand.Float64() < probability {
			_ = c.Close()
		}
	}
}

// Lead cuts all connections and leads later ones to target.
func (p *Proxy) Lead(target string) {
	p.mu.Lock()
	p.mu.target = target
	p.mu.Unlock()
	p.Cut(1)
}

// Close makes the server unreachable for good.
func (p *Proxy) Close() {
	_ = p.l.Close()
	p.Cut(1)
}
