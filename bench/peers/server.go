package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/firstseen/firstseen/bench"
	"github.com/firstseen/firstseen/internal/freeport"
)

const (
	startLimit = 30 * time.Second
	stopLimit  = 20 * time.Second
)

// findProgram looks for the first of names on PATH and then by patterns (the
// highest match wins, so that the newest version does).
func findProgram(names []string, patterns ...string) (string, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	for _, pattern := range patterns {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			sort.Strings(found)
			return found[len(found)-1], nil
		}
	}
	return "", fmt.Errorf("%w: no %s found on PATH", bench.ErrNotAvailable, names[0])
}

func freePort() (int, error) {
	port, err := freeport.Get()
	if err != nil {
		return 0, fmt.Errorf("%w: %w", bench.ErrNotAvailable, err)
	}
	return port, nil
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// A server is a process started for one run.
type server struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	err  error         // of Wait; read after done

	mu struct {
		sync.Mutex
		log bytes.Buffer // what it said last
	}
}

// Write keeps the last of what the server prints, for error messages.
func (s *server) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.log.Len() > 64<<10 {
		s.mu.log.Reset()
	}
	return s.mu.log.Write(p)
}

func (s *server) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	const most = 600
	text := bytes.TrimSpace(s.mu.log.Bytes())
	return string(text[max(0, len(text)-most):])
}

// startServer runs program until stop, as the user that owns dir, and returns
// when ready gives no error.
func startServer(ctx context.Context, dir string, ready func(context.Context) error, program string, args ...string) (*server, error) {
	s := &server{done: make(chan struct{})}
	s.cmd = exec.Command(program, args...)
	s.cmd.Dir = dir
	s.cmd.Stdout, s.cmd.Stderr = s, s
	if err := isolate(s.cmd, dir); err != nil {
		return nil, err
	}
	started := make(chan error)
	go func() {
		// The system kills the server when the thread that started it ends, so
		// that no server outlives a killed benchmark; this goroutine keeps the
		// thread until the server has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			s.err = s.cmd.Wait()
			close(s.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("%w: starting %s: %w", bench.ErrNotAvailable, filepath.Base(program), err)
	}
	if err := s.await(ctx, ready); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// await asks until the server answers, ends, or takes too long. There is no
// event to wait for: servers of other projects say that they are ready in ways
// that differ by version.
func (s *server) await(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	var last error
	for {
		select {
		case <-s.done:
			return fmt.Errorf("%w: %s ended: %v: %s", bench.ErrNotAvailable, filepath.Base(s.cmd.Path), s.err, s.said())
		case <-ctx.Done():
			return fmt.Errorf("%w: %s doesn't answer: %w (last: %v): %s",
				bench.ErrNotAvailable, filepath.Base(s.cmd.Path), ctx.Err(), last, s.said())
		case <-ticker.C:
			if last = ready(ctx); last == nil {
				return nil
			}
		}
	}
}

// stop asks the server to end in order and kills it when it doesn't.
func (s *server) stop() error {
	_ = terminate(s.cmd)
	select {
	case <-s.done:
		return nil
	case <-time.After(stopLimit):
	}
	err := s.cmd.Process.Kill()
	<-s.done
	return errors.Join(fmt.Errorf("%s didn't stop in %v and was killed", filepath.Base(s.cmd.Path), stopLimit), err)
}

// memory is the resident memory of the server and its children in bytes.
func (s *server) memory() int64 {
	sum := bench.ProcessMemory(s.cmd.Process.Pid)
	for _, pid := range childrenOf(s.cmd.Process.Pid) {
		sum += bench.ProcessMemory(pid)
	}
	return sum
}

// dataDir makes a directory below dir that the server's user owns and can reach.
func dataDir(dir, name string) (string, error) {
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return "", err
	}
	if err := giveAway(dir, path); err != nil {
		return "", fmt.Errorf("%w: %w", bench.ErrNotAvailable, err)
	}
	return path, nil
}

// run runs a program that prepares a data directory, as the server's user.
func run(ctx context.Context, dir, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	if err := isolate(cmd, dir); err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s: %w: %s", bench.ErrNotAvailable, filepath.Base(program), err, bytes.TrimSpace(out))
	}
	return nil
}
