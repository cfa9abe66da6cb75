package redisstore

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/servertest"
)

// stormEnv makes the test's binary one of the storm's processes.
const stormEnv = "FIRSTSEEN_REDIS_STORM"

// A storm is what its processes are told.
type storm struct {
	Addr    string
	Keys    int // in all
	Part    int // of Parts: which keys this process has to see marked
	Parts   int
	Clients int
	Lease   time.Duration
}

// An event is what a client saw, as a line of JSON. Times are ns since 1970; all
// processes have one clock.
type event struct {
	What    string // fresh, committed, unsure (a commit without an answer), lost, released, gaps
	Key     int
	Sent    int64 // when the claim was
	At      int64 // when What was answered
	Expires int64 // of the claim
	Ended   int64 // when its end was sent
}

// TestStorm: many clients in several processes, connections cut at random, the server
// killed and restarted in the middle. Of each key and lease one claim is fresh; after
// an acknowledged commit none is, unless a gap is reported.
func TestStorm(t *testing.T) {
	t.Parallel()
	for name, persistence := range map[string][]string{
		"with a log":     {"--appendonly", "yes", "--appendfsync", "no"}, // kill -9 takes nothing
		"without memory": nil,
	} {
		t.Run(name, func(t *testing.T) {
			keys, clients := 6_000, 4
			if long {
				keys, clients = 1_000_000, 16
			}
			server := servertest.Start(t, servertest.Redis, persistence...)
			p := newProxy(t, server.Env("REDIS_ADDR"))
			log := runStorm(t, storm{Addr: p.addr(), Keys: keys, Parts: 4, Clients: clients, Lease: 2 * time.Second}, p, server)
			s := open(t, clientOf(t, server), Options{Prefix: "storm"})
			log.check(t, keys, persistence != nil, s)
		})
	}
}

// A stormLog is all that the clients saw.
type stormLog struct {
	sync.Mutex
	events    map[int][]event
	committed atomic.Int64
	gaps      int
}

func runStorm(t *testing.T, st storm, p *proxy, server *servertest.Server) *stormLog {
	t.Helper()
	log := &stormLog{events: map[int][]event{}}
	var children sync.WaitGroup
	for part := range st.Parts {
		st.Part = part
		config, _ := json.Marshal(st)
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), stormEnv+"="+string(config))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		children.Go(func() {
			if err := log.read(out); err != nil {
				t.Errorf("process %d: %v", part, err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("process %d: %v", part, err)
			}
		})
	}
	over := make(chan struct{})
	go func() {
		children.Wait()
		close(over)
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for restarted := false; ; {
		select {
		case <-over:
			if !restarted {
				t.Error("the storm was over before the server was restarted")
			}
			return log
		case <-tick.C:
			p.cut(0.05)
			if !restarted && log.committed.Load() > int64(st.Keys/2) {
				server.Kill()
				server.Restart()
				restarted = true
			}
		}
	}
}

func (l *stormLog) read(r io.Reader) error {
	d := json.NewDecoder(bufio.NewReader(r))
	for {
		var e event
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		l.Lock()
		if e.What == "gaps" {
			l.gaps += e.Key
		} else {
			l.events[e.Key] = append(l.events[e.Key], e)
		}
		l.Unlock()
		if e.What == "committed" {
			l.committed.Add(1)
		}
	}
}

// check judges what was seen, key by key.
func (l *stormLog) check(t *testing.T, keys int, keeps bool, s *Store) {
	t.Helper()
	missed, twice, unmarked := 0, 0, 0
	for key := range keys {
		var freshes []event
		var ackedAt int64
		var free []event // releases, and commits that found their claim lost
		for _, e := range l.events[key] {
			switch e.What {
			case "fresh":
				freshes = append(freshes, e)
			case "committed":
				if ackedAt == 0 || e.At < ackedAt {
					ackedAt = e.At
				}
			case "released":
				free = append(free, e)
			}
		}
		for i, a := range freshes {
			if ackedAt > 0 && a.Sent > ackedAt {
				missed++
			}
			for _, b := range freshes[:i] {
				// Which of two calls under way at once was served first is not known.
				if !mayFollow(b, a, free) && !mayFollow(a, b, free) {
					twice++
					t.Logf("key %d is fresh within a lease: %+v", key, l.events[key])
				}
			}
		}
		is, err := s.Contains(ctx, stormKey(key))
		if err != nil {
			t.Fatal(err)
		}
		if !is {
			unmarked++
		}
	}
	t.Logf("%d keys, %d commits; %d fresh after a commit, %d fresh within a lease, %d not marked at the end, %d gaps reported",
		keys, l.committed.Load(), missed, twice, unmarked, l.gaps)
	if keeps && (missed+twice+unmarked > 0 || l.gaps > 0) {
		t.Error("the server lost nothing, so there must be nothing of these")
	}
	if !keeps && l.gaps == 0 {
		t.Error("the server lost everything, and no gap was reported")
	}
}

// mayFollow says whether second can be fresh though first was: its lease has ended, or
// it was given up before second was answered.
func mayFollow(first, second event, free []event) bool {
	if second.At >= first.Expires {
		return true
	}
	for _, e := range free {
		if e.Sent == first.Sent && e.Expires == first.Expires && e.Ended < second.At {
			return true
		}
	}
	return false
}

func stormKey(i int) []byte { return fmt.Appendf(nil, "key %d", i) }

// stormProcess is the main function of one process of the storm.
func stormProcess(config string) error {
	var st storm
	if err := json.Unmarshal([]byte(config), &st); err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(uint64(st.Part), 5))
	var todo []int
	for i := st.Part; i < st.Keys; i += st.Parts {
		todo = append(todo, i)
		if rng.Float64() < 0.43 { // 0.3 of all
			todo = append(todo, rng.IntN(st.Keys))
		}
	}
	out := bufio.NewWriter(os.Stdout)
	var mu sync.Mutex
	lines := json.NewEncoder(out)
	tell := func(e event) {
		mu.Lock()
		defer mu.Unlock()
		_ = lines.Encode(e)
		if e.What == "committed" && rng.IntN(50) == 0 {
			_ = out.Flush()
		}
	}
	var clients sync.WaitGroup
	errs := make([]error, st.Clients)
	for n := range st.Clients {
		var mine []int
		for i := n; i < len(todo); i += st.Clients {
			mine = append(mine, todo[i])
		}
		clients.Go(func() { errs[n] = stormClient(st, mine, tell) })
	}
	clients.Wait()
	return errors.Join(append(errs, out.Flush())...)
}

// stormClient sees to it that every key of todo gets marked.
func stormClient(st storm, todo []int, tell func(event)) error {
	client := redis.NewClient(&redis.Options{Addr: st.Addr, DialerRetries: 1})
	defer client.Close()
	var s *Store
	err := errors.New("never tried")
	for try := 0; err != nil && try < 50; try++ { // connections are cut here too
		s, err = New(client, Options{Window: time.Hour, Lease: st.Lease, Prefix: "storm", OnGap: Report})
	}
	if err != nil {
		return err
	}
	for len(todo) > 0 {
		n := min(len(todo), 50)
		batch := todo[:n]
		todo = todo[n:]
		keys := make([][]byte, n)
		for i, k := range batch {
			keys[i] = stormKey(k)
		}
		sent := time.Now().UnixNano()
		cs, err := s.ClaimBatch(ctx, nil, keys)
		at := time.Now().UnixNano()
		var held []dedup.Claim
		var which []int
		for i, c := range cs {
			switch c.Verdict {
			case dedup.Fresh:
				tell(event{What: "fresh", Key: batch[i], Sent: sent, At: at, Expires: c.Expires.UnixNano()})
				held, which = append(held, c), append(which, batch[i])
			case dedup.Duplicate:
			default:
				todo = append(todo, batch[i])
			}
		}
		if err != nil && len(held) > 0 {
			return fmt.Errorf("claims beside an error: %w", err)
		}
		todo = append(todo, finish(s, held, which, sent, tell)...)
	}
	tell(event{What: "gaps", Key: int(s.Stats().Gaps)})
	return nil
}

// finish commits or, now and then, releases claims and returns the keys that are to be
// claimed again.
func finish(s *Store, held []dedup.Claim, which []int, sent int64, tell func(event)) (again []int) {
	if len(held) == 0 {
		return nil
	}
	end, done := s.Commit, "committed"
	if rand.IntN(20) == 0 {
		end, done = s.Release, "released"
	}
	ended := time.Now().UnixNano()
	err := end(ctx, held...)
	at := time.Now().UnixNano()
	lost := map[int]bool{}
	for _, i := range dedup.IndexesOf(err, dedup.ErrLeaseLost) {
		lost[i] = true
	}
	for i, c := range held {
		e := event{What: done, Key: which[i], Sent: sent, At: at, Expires: c.Expires.UnixNano(), Ended: ended}
		switch {
		case lost[i] && (done == "committed" || at < e.Expires):
			e.What = "lost" // after its lease an attempt without an answer may have released it
		case err != nil && len(lost) == 0 && done == "committed":
			e.What = "unsure"
		}
		tell(e)
		if e.What != "committed" {
			again = append(again, which[i])
		}
	}
	return again
}
