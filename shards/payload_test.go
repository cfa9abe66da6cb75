package shards

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/keytable"
)

// TestPayload: the log gets the same of keys whose payload is their table's memory and of
// those that come among keys of another form, where it has to be made.
func TestPayload(t *testing.T) {
	var logged [2][]byte
	for i := range logged {
		h := newBed(t, Config{})
		var keys [][]byte
		for n := range 100 {
			keys = append(keys, key16(n))
		}
		if i == 1 {
			for shard := range 64 { // some in each shard
				keys = append(keys, fmt.Appendf(nil, "another form %d", shard))
			}
		}
		h.admit(keys...)
		for _, r := range h.log.records {
			if r.Form == hash.Raw16 {
				logged[i] = append(logged[i], r.Payload...)
			}
		}
	}
	if len(logged[0]) != 100*keytable.PairBytes || string(logged[0]) != string(logged[1]) {
		t.Errorf("%d and %d bytes, or they differ", len(logged[0]), len(logged[1]))
	}
}

// TestPayloadOne: the log gets the same of keys that come one by one and of those that
// come together.
func TestPayloadOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 7))
	var keys [][]byte
	for range 300 {
		keys = append(keys, mixedKey(rng, 200))
	}
	var logged [2]map[string]string
	for i := range logged {
		logged[i] = map[string]string{}
		h := newBed(t, Config{})
		if i == 0 {
			h.admit(keys...)
		} else {
			for _, key := range keys {
				h.admit(key)
			}
		}
		for _, r := range h.log.records {
			logged[i][fmt.Sprintf("shard %d, form %v", r.Shard, r.Form)] += string(r.Payload)
		}
	}
	if len(logged[0]) < 8 || !maps.Equal(logged[0], logged[1]) {
		t.Errorf("together %q, one by one %q", logged[0], logged[1])
	}
}
