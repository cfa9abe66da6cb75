package killtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/adapters/intents"
	"github.com/firstseen/firstseen/dedup"
)

// A Front is a way to serve requests with idempotency keys.
type Front struct {
	Name string
	// Serve serves handler on l, behind a middleware on guard and store, which is
	// nil where no intents are kept. It returns an error, or never.
	Serve func(l net.Listener, guard dedup.Guard, store intents.Store, handler func(key string) (answer string)) error
	// Ask sends a request with a key to the server at addr. Its error is
	// ErrInDoubt, ErrNoAnswer where the server died, or what no server may say.
	// It is called by several goroutines at once.
	Ask func(ctx context.Context, t *testing.T, addr, key string) (answer string, err error)
}

// What Ask returns besides an answer.
var (
	ErrInDoubt  = errors.New("the outcome is in doubt")
	ErrNoAnswer = errors.New("no answer")
)

const (
	kills     = 3 // in the short form
	longKills = 50
	clients   = 4 // at once, each with one request at a time
	askLimit  = 20 * time.Second
)

// Run kills the server of a front in both modes.
func Run(t *testing.T, f Front) {
	n := kills
	if os.Getenv("FIRSTSEEN_SERVERS") == "long" {
		n = longKills
	}
	for _, withIntents := range []bool{false, true} {
		t.Run(fmt.Sprintf("%s/intents=%v", f.Name, withIntents), func(t *testing.T) {
			s := &storm{T: t, front: f, withIntents: withIntents, dir: t.TempDir()}
			s.mu.answers, s.mu.doubts, s.mu.died = map[string]string{}, map[string]bool{}, map[string]int{}
			s.run(n)
		})
	}
}

// A storm is one server that is killed again and again, and its clients.
type storm struct {
	*testing.T
	front       Front
	withIntents bool
	dir         string
	unanswered  [clients]string // each client's key whose server died, asked again first of all

	mu struct { // what the clients were told, by key
		sync.Mutex
		answers map[string]string // the first answer
		doubts  map[string]bool
		died    map[string]int // servers that died with the request
	}
}

func (s *storm) run(kills int) {
	for round := range kills {
		child := s.start()
		s.eachClient(func(client int) { s.ask(child, client, round) })
		child.kill()
	}
	child := s.start()
	defer child.kill()
	s.eachClient(func(client int) {
		if key := s.unanswered[client]; key != "" && !s.send(child, key) {
			s.Errorf("%s: no answer from a server that lives", key)
		}
	})
	for key := range s.told() {
		if !s.send(child, key) {
			s.Errorf("%s: no answer from a server that lives", key)
		}
	}
	s.check(kills)
}

// eachClient runs f for all clients at once.
func (s *storm) eachClient(f func(client int)) {
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() { f(client) })
	}
	wg.Wait()
}

// ask is a client's life with one server: its unanswered request first, then new
// ones, each repeated once it was answered.
func (s *storm) ask(child *child, client, round int) {
	key := s.unanswered[client]
	for i := 0; ; i++ {
		if key == "" {
			key = fmt.Sprintf("k-%d-%d-%d", client, round, i)
		}
		s.unanswered[client] = key
		for range 2 {
			if !s.send(child, key) {
				return
			}
			child.doom.Do(func() {
				time.AfterFunc(time.Duration(50+rand.IntN(200))*time.Millisecond, func() { _ = child.cmd.Process.Kill() })
			})
		}
		key = ""
	}
}

// send sends a request, notes what comes back, and reports whether something did.
// An answer that was given before must be the same.
func (s *storm) send(child *child, key string) bool {
	ctx, cancel := context.WithTimeout(s.Context(), askLimit)
	defer cancel()
	answer, err := s.front.Ask(ctx, s.T, child.addr, key)
	s.mu.Lock()
	defer s.mu.Unlock()
	before, answered := s.mu.answers[key]
	switch {
	case errors.Is(err, ErrNoAnswer):
		if !answered {
			s.mu.died[key]++
		}
		return false
	case errors.Is(err, ErrInDoubt):
		if answered {
			s.Errorf("%s is in doubt after the answer %q", key, before)
		}
		s.mu.doubts[key] = true
	case err != nil:
		s.Errorf("%s: %v", key, err)
	case answered && answer != before:
		s.Errorf("%s: answered %q, before %q", key, answer, before)
	case s.mu.doubts[key]:
		s.Errorf("%s: answered %q after it was in doubt", key, answer)
	default:
		s.mu.answers[key] = answer
	}
	return true
}

// told returns all keys of which a client knows something.
func (s *storm) told() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]bool{}
	for key := range s.mu.answers {
		all[key] = true
	}
	for key := range s.mu.doubts {
		all[key] = true
	}
	return all
}

// check compares what the clients were told with the effects.
func (s *storm) check(kills int) {
	effects := s.effects()
	twice, lost := 0, 0
	for key, n := range effects {
		if n > 1 {
			twice++
		}
		if most := 1 + s.mu.died[key]; s.withIntents && n > 1 || n > most {
			s.Errorf("%s had %d effects; %d servers died with its request", key, n, s.mu.died[key])
		}
	}
	for key, answer := range s.mu.answers {
		if effects[key] == 0 {
			lost++
			s.Errorf("%s was answered %q, and its effect is not there", key, answer)
		}
	}
	if s.withIntents == (len(s.mu.doubts) == 0) {
		s.Errorf("%d keys in doubt", len(s.mu.doubts))
	}
	s.Logf("%d kills: %d operations, %d running when the server died; %d effects twice, %d lost, %d in doubt",
		kills, len(s.told()), len(s.mu.died), twice, lost, len(s.mu.doubts))
}

// effects counts the lines of each key in the ledger.
func (s *storm) effects() map[string]int {
	data, err := os.ReadFile(filepath.Join(s.dir, "ledger"))
	if err != nil {
		s.Fatal(err)
	}
	counts := map[string]int{}
	for line := range strings.Lines(string(data)) {
		counts[strings.TrimSuffix(line, "\n")]++
	}
	return counts
}

// A child is a server in a process of its own.
type child struct {
	cmd  *exec.Cmd
	addr string
	doom sync.Once // its first reply begins the time it has left, so that it is at work when it dies
}

func (s *storm) start() *child {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), frontEnv+"="+s.front.Name, dirEnv+"="+s.dir)
	if s.withIntents {
		cmd.Env = append(cmd.Env, intentsEnv+"=1")
	}
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil { // it ends with us, and the child with it
		s.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		s.Fatalf("the child said %q, %v", line, err)
	}
	return &child{cmd: cmd, addr: strings.TrimSpace(line)}
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}
