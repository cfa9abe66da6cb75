package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/firstseen/firstseen/dedup"
)

// askName is the socket in a directory by which the filter that has it open answers
// 'firstseen contains'. A connection is the byte askVersion, then for each key its
// length, two bytes little endian, and the key; for each comes a byte: askYes, askNo, or
// askFailed, with which the connection ends.
const askName = "ASK"

const (
	askVersion = 1

	askNo     = 0
	askYes    = 1
	askFailed = 2
)

// A knower is what answering needs of an engine.
type knower interface {
	Contains(ctx context.Context, key []byte) (bool, error)
}

// An askServer answers for an engine that is open.
type askServer struct {
	e        knower
	listener net.Listener
	running  sync.WaitGroup
	open     struct {
		sync.Mutex
		conns map[net.Conn]bool // nil: no more are taken
	}
}

// serveAsk begins to answer. The directory must be ours alone: a socket that lies there
// is one of a run that was killed. Where there are no such sockets, or no room for one,
// nobody answers, and that is no error: the filter does its work all the same.
func serveAsk(dir string, e knower) *askServer {
	path, release, err := askPath(dir)
	if err != nil {
		return nil
	}
	defer release()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // the path may be one for this moment
	s := &askServer{e: e, listener: l}
	s.open.conns = map[net.Conn]bool{}
	s.running.Go(s.accept)
	return s
}

// accept ends with the listener.
func (s *askServer) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.open.Lock()
		if s.open.conns == nil {
			_ = c.Close()
		} else {
			s.open.conns[c] = true
			s.running.Go(func() { s.answer(c) })
		}
		s.open.Unlock()
	}
}

// answer serves one connection until it ends.
func (s *askServer) answer(c net.Conn) {
	defer func() {
		s.open.Lock()
		delete(s.open.conns, c)
		s.open.Unlock()
		_ = c.Close()
	}()
	r, w := bufio.NewReader(c), bufio.NewWriter(c)
	if v, err := r.ReadByte(); err != nil || v != askVersion {
		return
	}
	var head [2]byte
	key := make([]byte, 0, dedup.MaxKeyLen)
	for {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		key = key[:binary.LittleEndian.Uint16(head[:])]
		if _, err := io.ReadFull(r, key); err != nil {
			return
		}
		answer := byte(askNo)
		found, err := s.e.Contains(context.Background(), key)
		switch {
		case err != nil:
			_ = w.WriteByte(askFailed)
			_ = w.Flush()
			return
		case found:
			answer = askYes
		}
		_ = w.WriteByte(answer)
	}
}

// close ends all connections and takes the socket away. It comes before the engine's.
func (s *askServer) close(dir string) {
	if s == nil {
		return
	}
	_ = s.listener.Close()
	s.open.Lock()
	for c := range s.open.conns {
		_ = c.Close()
	}
	s.open.conns = nil
	s.open.Unlock()
	s.running.Wait()
	_ = os.Remove(filepath.Join(dir, askName))
}

// An asker asks the filter that has a directory open.
type asker struct {
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
}

// dialAsk returns nil when nobody answers for the directory.
func dialAsk(ctx context.Context, dir string) *asker {
	path, release, err := askPath(dir)
	if err != nil {
		return nil
	}
	defer release()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil
	}
	context.AfterFunc(ctx, func() { _ = c.Close() })
	a := &asker{conn: c, r: bufio.NewReader(c), w: bufio.NewWriter(c)}
	_ = a.w.WriteByte(askVersion)
	return a
}

// contains asks for all keys; an error means that nothing is known of any.
func (a *asker) contains(_ context.Context, keys [][]byte) ([]bool, error) {
	for _, key := range keys {
		_, _ = a.w.Write(binary.LittleEndian.AppendUint16(nil, uint16(len(key))))
		_, _ = a.w.Write(key)
	}
	if err := a.w.Flush(); err != nil {
		return nil, fmt.Errorf("the filter that has the directory open can't be asked: %w", err)
	}
	found := make([]bool, len(keys))
	for i := range found {
		b, err := a.r.ReadByte()
		if err != nil || b == askFailed {
			return nil, errors.Join(errors.New("the filter that has the directory open gives no answer"), err)
		}
		found[i] = b == askYes
	}
	return found, nil
}

func (a *asker) close() error { return a.conn.Close() }
