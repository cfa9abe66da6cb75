package redisstore

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// TestLostAnswers: the server carries a call out, its answer gets lost, and the Store
// sends it again.
func TestLostAnswers(t *testing.T) {
	client := shared(t)
	p := newProxy(t, client.Options().Addr)
	o := Options{Window: time.Hour, Prefix: ownPrefix()}
	s, peer := open(t, clientAt(t, p.addr()), o), open(t, client, o)
	// The server knows the scripts, so that no answer is lost which only says that it doesn't.
	mark(t, peer, "known")
	if err := peer.Release(ctx, claim(t, peer, "known too", dedup.Fresh)); err != nil {
		t.Fatal(err)
	}
	lose := func() {
		t.Helper()
		if err := s.Ping(ctx); err != nil { // a connection is there, so that it is no handshake that gets lost
			t.Fatal(err)
		}
		before := s.Stats().Retries
		p.loseNext()
		t.Cleanup(func() {
			if s.Stats().Retries == before {
				t.Error("no answer got lost")
			}
		})
	}

	lose()
	c := claim(t, s, "k", dedup.Fresh)
	claim(t, peer, "k", dedup.InFlight)
	lose()
	if err := s.Commit(ctx, c); err != nil {
		t.Fatalf("Commit whose answer got lost: %v", err)
	}
	claim(t, peer, "k", dedup.Duplicate)
	if err := s.Commit(ctx, c); !errors.Is(err, dedup.ErrLeaseLost) {
		t.Fatalf("a second Commit gives the error %v", err)
	}

	c = claim(t, s, "released", dedup.Fresh)
	lose()
	if err := s.Release(ctx, c); err != nil {
		t.Fatalf("Release whose answer got lost: %v", err)
	}
	if err := s.Release(ctx, c); !errors.Is(err, dedup.ErrLeaseLost) {
		t.Fatalf("a second Release gives the error %v", err)
	}
	claim(t, peer, "released", dedup.Fresh)

	// One batch: a key that comes twice is fresh once, also the second time.
	lose()
	cs, err := s.ClaimBatch(ctx, nil, [][]byte{[]byte("twice"), []byte("other"), []byte("twice")})
	if err != nil || cs[0].Verdict != dedup.Fresh || cs[1].Verdict != dedup.Fresh || cs[2].Verdict != dedup.InFlight {
		t.Fatalf("ClaimBatch whose answer got lost: %v, %v", cs, err)
	}
}

// TestForeignValue: what somebody else wrote is neither fresh nor a duplicate.
func TestForeignValue(t *testing.T) {
	client := shared(t)
	for _, o := range []Options{{Prefix: ownPrefix()}, {DedupListener: true}} {
		s := open(t, client, o)
		key := []byte(ownPrefix())
		client.Set(ctx, string(s.lay.name(nil, s.lay.bucket(key), key)), "what is this", time.Minute)
		c, err := s.Claim(ctx, key)
		if err == nil || errors.Is(err, ErrGap) || c.Verdict != dedup.Unknown || c.Token != (dedup.Token{}) {
			t.Errorf("Claim over a foreign value is %v with the token %v and the error %v", c.Verdict, c.Token, err)
		}
	}
}

// TestLayoutIsFixed: Stores that would not find each other's records don't open.
func TestLayoutIsFixed(t *testing.T) {
	client := shared(t)
	o := Options{Window: time.Hour, Prefix: ownPrefix()}
	open(t, client, o)
	open(t, client, o)
	o.Buckets = 63
	if _, err := New(client, o); !errors.Is(err, dedup.ErrIncompatible) {
		t.Errorf("New with other Buckets gives the error %v", err)
	}
}

func TestBadOptions(t *testing.T) {
	_, err := New(shared(t), Options{Lease: -1, Prefix: "a{b}", Buckets: -1, OnGap: 9, CheckEvery: -1})
	for _, what := range []string{"Window", "Lease", "Prefix", "Buckets", "OnGap", "CheckEvery"} {
		if err == nil || !strings.Contains(err.Error(), what+" is") {
			t.Errorf("the error doesn't name %s: %v", what, err)
		}
	}
}
