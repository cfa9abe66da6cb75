package redisstore

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// A proxy stands between clients and a server and cuts their connections.
type proxy struct {
	l      net.Listener
	target string
	mu     sync.Mutex
	conns  map[net.Conn]bool
	mute   bool // answers are swallowed and the connection is cut instead
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l, target: target, conns: map[net.Conn]bool{}}
	go p.serve()
	t.Cleanup(p.close)
	return p
}

func (p *proxy) addr() string { return p.l.Addr().String() }

func (p *proxy) serve() {
	for {
		in, err := p.l.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		target := p.target
		p.mu.Unlock()
		out, err := net.Dial("tcp", target)
		if err != nil {
			in.Close()
			continue
		}
		p.mu.Lock()
		p.conns[in] = true
		p.mu.Unlock()
		go p.copy(out, in, false)
		go p.copy(in, out, true)
	}
}

func (p *proxy) copy(to, from net.Conn, answers bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && answers && p.takesAnswer() {
			return
		}
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

// takesAnswer says whether the answer that just came is to be lost.
func (p *proxy) takesAnswer() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	mute := p.mute
	p.mute = false
	return mute
}

// loseNext makes the next answer of the server get lost with its connection.
func (p *proxy) loseNext() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = true
}

// cut ends a share of the connections.
func (p *proxy) cut(share float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if rand.Float64() < share {
			c.Close()
			delete(p.conns, c)
		}
	}
}

// turnTo leads all further connections to another server.
func (p *proxy) turnTo(target string) {
	p.mu.Lock()
	p.target = target
	p.mu.Unlock()
	p.cut(1)
}

// close makes the server unreachable for good.
func (p *proxy) close() {
	p.l.Close()
	p.cut(1)
}
