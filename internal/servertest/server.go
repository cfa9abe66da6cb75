package servertest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Kinds of servers that scripts/brokers starts.
const (
	Kafka    = "kafka"
	MariaDB  = "mariadb"
	Postgres = "postgres"
	RabbitMQ = "rabbitmq"
	Redis    = "redis"
	RocketMQ = "rocketmq"
)

// A Server is one that Start has started. Its methods fail the test they were
// given to Start for; they must not be called by several goroutines at once.
type Server struct {
	tb     testing.TB // nil once the test is over, for shared ones
	script string
	dir    string
	kind   string
	env    map[string]string
	holder *exec.Cmd      // scripts/brokers hold
	life   io.WriteCloser // its input: the server ends with it
}

// Start starts a server of the kind for one test and stops it when the test
// ends. args are further arguments of a Redis, MariaDB or PostgreSQL server.
func Start(tb testing.TB, kind string, args ...string) *Server {
	tb.Helper()
	s, err := start(kind, args)
	if err != nil {
		missing(tb, kind, err)
	}
	s.endWith(tb)
	return s
}

// endWith makes a server that of one test.
func (s *Server) endWith(tb testing.TB) {
	s.tb = tb
	tb.Cleanup(func() {
		if err := s.end(); err != nil {
			tb.Errorf("servertest: %v", err)
		}
	})
}

// Env returns the value of a name that scripts/brokers printed, such as
// REDIS_ADDR, MARIADB_ADDR, POSTGRES_URL, RABBITMQ_URL, KAFKA_BROKERS,
// ROCKETMQ_ENDPOINT or ROCKETMQ_NAMESRV.
func (s *Server) Env(name string) string {
	s.tb.Helper()
	v, ok := s.env[name]
	if !ok {
		s.tb.Fatalf("servertest: %s has no %s", s.kind, name)
	}
	return v
}

// Run calls scripts/brokers with a command for this server, such as "topic" or
// "group" of RocketMQ: brokers COMMAND DIR ARG...
func (s *Server) Run(command string, args ...string) {
	s.tb.Helper()
	if err := s.run(command, args...); err != nil {
		s.tb.Fatalf("servertest: %v", err)
	}
}

// Kill ends the server at once, as a crash would.
func (s *Server) Kill() { s.tb.Helper(); s.Run("kill") }

// Stop ends the server in order. Its files stay for Restart.
func (s *Server) Stop() { s.tb.Helper(); s.Run("stop") }

// Restart ends what still runs and starts the server again: same data, same
// address.
func (s *Server) Restart() { s.tb.Helper(); s.Run("restart") }

// Standby starts a standby of a PostgreSQL server. From then on the server
// acknowledges no commit that the standby doesn't have on its disk. The standby
// ends with the test; Promote makes it a primary.
func (s *Server) Standby() *Server {
	s.tb.Helper()
	standby := &Server{script: s.script, kind: s.kind}
	if err := standby.hold("standby", func(dir string) []string { return []string{s.dir, dir} }); err != nil {
		s.tb.Fatal(err)
	}
	standby.endWith(s.tb)
	return standby
}

// Promote makes a standby a primary.
func (s *Server) Promote() { s.tb.Helper(); s.Run("promote") }

func start(kind string, args []string) (*Server, error) {
	script, err := find()
	if err != nil {
		return nil, err
	}
	s := &Server{script: script, kind: kind}
	return s, s.hold("start", func(dir string) []string { return append([]string{kind, dir}, args...) })
}

// hold starts the server by a command of scripts/brokers whose arguments are those
// that args makes of a new directory. The command stays, and ends the server when its
// input ends: by end, or by the end of this process, however it comes. It has a session
// of its own, so that a signal to our process group doesn't end it before that.
func (s *Server) hold(command string, args func(dir string) []string) (err error) {
	if s.dir, err = os.MkdirTemp("", "firstseen-"+s.kind+"-"); err != nil {
		return err
	}
	var messages bytes.Buffer
	s.holder = exec.Command(s.script, append([]string{"hold", command}, args(s.dir)...)...)
	s.holder.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	s.holder.Stderr = &messages
	if s.life, err = s.holder.StdinPipe(); err != nil {
		return err
	}
	out, err := s.holder.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.holder.Start(); err != nil {
		return err
	}
	s.env = map[string]string{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "ready" {
			return nil
		}
		if name, value, ok := strings.Cut(lines.Text(), "="); ok {
			s.env[name] = value
		}
	}
	err = s.holder.Wait()
	_ = os.RemoveAll(s.dir)
	return fmt.Errorf("%s %s: %w: %s", command, s.kind, err, strings.TrimSpace(messages.String()))
}

// end ends the server at once and removes its files.
func (s *Server) end() error {
	_ = s.life.Close()
	if err := s.holder.Wait(); err != nil {
		return fmt.Errorf("ending %s: %w", s.kind, err)
	}
	return nil
}

// run calls a command of scripts/brokers for the server's directory.
func (s *Server) run(command string, args ...string) error {
	out, err := exec.Command(s.script, append([]string{command, s.dir}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", command, s.kind, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// find returns the path of scripts/brokers in this package's module.
func find() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		script := filepath.Join(dir, "scripts", "brokers")
		if _, err := os.Stat(script); err == nil {
			return script, nil
		}
		if filepath.Dir(dir) == dir {
			return "", fmt.Errorf("scripts/brokers is in no folder above the working directory")
		}
		dir = filepath.Dir(dir)
	}
}

func missing(tb testing.TB, kind string, err error) {
	tb.Helper()
	if os.Getenv("FIRSTSEEN_REQUIRE_SERVERS") == "1" {
		tb.Fatalf("servertest: no %s: %v", kind, err)
	}
	tb.Skipf("!!! SKIPPED: no %s: %v (scripts/brokers install %s)", kind, err, kind)
}

var shared struct {
	sync.Mutex
	servers map[string]*Server
	errs    map[string]error
}

// Shared returns a server of the kind that all tests of the package have
// together. It takes a TestMain that calls Main. Tests keep apart by names of
// their own for keys, tables, topics and queues, and neither stop nor restart
// it.
func Shared(tb testing.TB, kind string) *Server {
	tb.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.servers == nil {
		tb.Fatal("servertest: Shared takes a TestMain that calls servertest.Main")
	}
	s, ok := shared.servers[kind]
	if !ok && shared.errs[kind] == nil {
		s, shared.errs[kind] = start(kind, nil)
		if shared.errs[kind] == nil {
			shared.servers[kind] = s
		}
	}
	if err := shared.errs[kind]; err != nil {
		missing(tb, kind, err)
	}
	mine := *s
	mine.tb = tb
	return &mine
}

// With returns something whose Run is Main, for another TestMain to call.
func With(m *testing.M) interface{ Run() int } { return runner{m} }

type runner struct{ m *testing.M }

func (r runner) Run() int { return Main(r.m) }

// Main runs the tests, ends the shared servers and returns the exit code:
//
//	func TestMain(m *testing.M) { os.Exit(servertest.Main(m)) }
func Main(m *testing.M) int {
	shared.servers, shared.errs = map[string]*Server{}, map[string]error{}
	code := m.Run()
	for _, s := range shared.servers {
		if err := s.end(); err != nil {
			fmt.Fprintln(os.Stderr, "servertest:", err)
			code = max(code, 1)
		}
	}
	return code
}
