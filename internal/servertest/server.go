package servertest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
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
}

// Start starts a server of the kind for one test and stops it when the test
// ends. args are further arguments of a Redis, MariaDB or PostgreSQL server.
func Start(tb testing.TB, kind string, args ...string) *Server {
	tb.Helper()
	s, err := start(kind, args)
	if err != nil {
		missing(tb, kind, err)
	}
	s.tb = tb
	tb.Cleanup(func() {
		if err := s.run("kill"); err != nil {
			tb.Errorf("servertest: %v", err)
		}
		_ = os.RemoveAll(s.dir)
	})
	return s
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
	dir, err := os.MkdirTemp("", "firstseen-standby-")
	if err != nil {
		s.tb.Fatal(err)
	}
	standby := &Server{tb: s.tb, script: s.script, dir: dir, kind: s.kind, env: map[string]string{}}
	s.tb.Cleanup(func() {
		if err := standby.run("kill"); err != nil {
			s.tb.Errorf("servertest: %v", err)
		}
		_ = os.RemoveAll(dir)
	})
	s.Run("standby", dir)
	if err := standby.readEnv(); err != nil {
		s.tb.Fatal(err)
	}
	return standby
}

// Promote makes a standby a primary.
func (s *Server) Promote() { s.tb.Helper(); s.Run("promote") }

func start(kind string, args []string) (*Server, error) {
	script, err := find()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "firstseen-"+kind+"-")
	if err != nil {
		return nil, err
	}
	s := &Server{script: script, dir: dir, kind: kind, env: map[string]string{}}
	if err := s.run("start", args...); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return s, s.readEnv()
}

func (s *Server) run(command string, args ...string) error {
	call := append([]string{command}, s.dir)
	if command == "start" {
		call = []string{command, s.kind, s.dir}
	}
	out, err := exec.Command(s.script, append(call, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", command, s.kind, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (s *Server) readEnv() error {
	f, err := os.Open(filepath.Join(s.dir, "env"))
	if err != nil {
		return err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), "="); ok {
			s.env[name] = value
		}
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
		if err := s.run("kill"); err != nil {
			fmt.Fprintln(os.Stderr, "servertest:", err)
			code = max(code, 1)
		}
		_ = os.RemoveAll(s.dir)
	}
	return code
}
