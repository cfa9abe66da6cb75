package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist"
)

type linearOp uint8

const (
	linearAdmit linearOp = iota
	linearClaim
	linearCommit
	linearRelease
	linearContains
)

// linearIn is a call on one key; id numbers claims.
type linearIn struct {
	op  linearOp
	key int
	id  int
}

type linearOut struct {
	verdict dedup.Verdict // of admit, claim and contains
	ended   bool          // of commit and release: the token did end the claim
}

// linearState is what the specification knows of a key.
type linearState struct {
	marked bool
	holder int // claim that holds it, 0: none
}

var linearModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[int][]porcupine.Operation{}
		for _, op := range history {
			k := op.Input.(linearIn).key
			byKey[k] = append(byKey[k], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return linearState{} },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(linearState), input.(linearIn), output.(linearOut)
		want := dedup.Fresh
		switch {
		case s.marked:
			want = dedup.Duplicate
		case s.holder != 0:
			want = dedup.InFlight
		}
		switch in.op {
		case linearAdmit, linearClaim:
			if out.verdict != want {
				return false, s
			}
			if want == dedup.Fresh && in.op == linearAdmit {
				s.marked = true
			} else if want == dedup.Fresh {
				s.holder = in.id
			}
			return true, s
		case linearContains:
			return (out.verdict == dedup.Duplicate) == s.marked, s
		}
		if out.ended != (s.holder == in.id) {
			return false, s
		}
		if out.ended {
			s.holder = 0
			s.marked = s.marked || in.op == linearCommit
		}
		return true, s
	},
}

// TestFaultsLinearizable lets clients claim, commit, release, admit and ask for a
// few keys at once, and has Porcupine look for an order of the calls that
// explains all answers (I2, I6).
func TestFaultsLinearizable(t *testing.T) {
	runFaults(t, func(p *faultPart) {
		clock := newFakeClock()
		// While one call waits for the journal the others go on, on one processor too:
		// else calls of a microsecond hardly ever meet.
		journal := newHookFS(persist.JournalName)
		journal.set(func(string) error {
			runtime.Gosched()
			return nil
		})
		e := faultOpen(t, memoryDir(t, 64<<20), config{Options: Options{
			Window:      time.Hour,
			Capacity:    5000,
			Generations: 3,
			Shards:      2,
			Sync:        SyncAlways,
			MinFreeDisk: -1,
			Lease:       24 * time.Hour,
			Now:         clock.now,
		}, hooks: hooks{
			tableKeys: 50,
			ringBytes: 256 << 10,
			fs:        journal,
		}})
		for h := 0; h < faultScale(200, 10_000) && !p.done(); h++ {
			history := linearHistory(e, uint64(h))
			p.count("histories", 1)
			p.count("calls", len(history))
			p.count("calls during another one for the key", overlaps(history))
			switch porcupine.CheckOperationsTimeout(linearModel, history, time.Minute) {
			case porcupine.Illegal:
				p.errorf("history %d is not linearizable", h)
				t.Logf("%+v", history)
			case porcupine.Unknown:
				p.count("histories that took too long to check", 1)
			}
		}
		faultClose(t, e)
	})
}

func linearHistory(e *Engine, seed uint64) []porcupine.Operation {
	const clients, calls, keys = 8, 14, 3
	var mu sync.Mutex
	var history []porcupine.Operation
	begun := time.Now()
	var wg sync.WaitGroup
	start := make(chan struct{})
	for client := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			<-start
			rng := rand.New(rand.NewPCG(seed, uint64(client)))
			type held struct {
				id, key int
				claim   dedup.Claim
			}
			var claims []held
			for n := range calls {
				in := linearIn{op: linearOp(rng.IntN(5)), key: rng.IntN(keys), id: 1 + client*calls + n}
				if in.op == linearAdmit && rng.IntN(3) > 0 {
					in.op = linearClaim // a marked key is of little interest
				}
				var claim dedup.Claim
				if in.op == linearCommit || in.op == linearRelease {
					if len(claims) == 0 {
						continue
					}
					h := claims[rng.IntN(len(claims))] // also one that was ended before
					in.id, in.key, claim = h.id, h.key, h.claim
				}
				runtime.Gosched() // on few processors a client would be done before the next begins
				call := time.Since(begun).Nanoseconds()
				out, claim := linearCall(e, in, faultKey(8*(seed*keys+uint64(in.key))), claim)
				done := time.Since(begun).Nanoseconds()
				if in.op == linearClaim && out.verdict == dedup.Fresh {
					claims = append(claims, held{in.id, in.key, claim})
				}
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: done})
				mu.Unlock()
			}
		}()
	}
	close(start)
	wg.Wait()
	return history
}

// overlaps counts calls that began while another one for the same key was under
// way: without them a history shows nothing.
func overlaps(history []porcupine.Operation) (n int) {
	for _, a := range history {
		for _, b := range history {
			if a.Input.(linearIn).key == b.Input.(linearIn).key && b.Call < a.Call && a.Call < b.Return {
				n++
				break
			}
		}
	}
	return n
}

func linearCall(e *Engine, in linearIn, key []byte, claim dedup.Claim) (out linearOut, c dedup.Claim) {
	ctx := context.Background()
	var err error
	switch in.op {
	case linearAdmit:
		out.verdict, err = e.Admit(ctx, key)
	case linearClaim:
		c, err = e.Claim(ctx, key)
		out.verdict = c.Verdict
	case linearContains:
		var found bool
		if found, err = e.Contains(ctx, key); found {
			out.verdict = dedup.Duplicate
		}
	case linearCommit:
		err = e.Commit(ctx, claim)
		out.ended = err == nil
	case linearRelease:
		err = e.Release(ctx, claim)
		out.ended = err == nil
	}
	if err != nil && !errors.Is(err, dedup.ErrLeaseLost) {
		panic(err)
	}
	return out, c
}
