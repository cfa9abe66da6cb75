package redisstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/firstseen/firstseen/dedup"
)

// longestKey is the length of the longest key that is stored as it is; of longer
// ones the digest is. Redis takes more, but keeps it in memory.
const longestKey = 255

// A layout says how records are named and which scripts know them.
type layout struct {
	scripts
	begins   []string // of records, for each bucket
	counters []string // this Store's, for each bucket that is called apart
	apart    bool     // a script stays within one bucket, as in a cluster
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newLayout(o Options, instance string, apart bool) layout {
	if o.DedupListener {
		return layout{scripts: listenerScripts, begins: []string{listenerPrefix}, counters: []string{"firstseen:!" + instance}}
	}
	l := layout{scripts: ownScripts, apart: apart}
	for b := range o.Buckets {
		l.begins = append(l.begins, o.Prefix+"{"+strconv.Itoa(b)+"}")
		if apart || b == 0 {
			l.counters = append(l.counters, l.begins[b]+"!"+instance)
		}
	}
	return l
}

// bucket returns the bucket of a key. It is part of the layout and never changes.
func (l *layout) bucket(key []byte) int {
	return int(crc32.Checksum(key, castagnoli) % uint32(len(l.begins)))
}

// name appends the name of the record of key. A digest and a key can't meet: they
// differ in the byte before them.
func (l *layout) name(to []byte, bucket int, key []byte) []byte {
	to = append(to, l.begins[bucket]...)
	if l.claim == listenerScripts.claim {
		return append(to, key...)
	}
	if len(key) > longestKey {
		sum := sha256.Sum256(key)
		return append(append(to, '#'), sum[:]...)
	}
	return append(append(to, ':'), key...)
}

// settle writes the layout into the memory if it is new, and refuses a memory with
// another one: its records would not be found.
func settle(ctx context.Context, client redis.UniversalClient, o Options) error {
	if o.DedupListener {
		return nil
	}
	name := o.Prefix + "{layout}"
	mine := fmt.Sprintf("1 buckets=%d late=%d", o.Buckets, late.Milliseconds())
	err := client.SetArgs(ctx, name, mine, redis.SetArgs{Mode: "NX"}).Err()
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("redisstore: writing the layout: %w", err)
	}
	found, err := client.Get(ctx, name).Result()
	if err != nil {
		return fmt.Errorf("redisstore: reading the layout: %w", err)
	}
	if found != mine {
		return fmt.Errorf("redisstore: %w: the records of prefix %q have the layout %q, this Store would use %q",
			dedup.ErrIncompatible, o.Prefix, found, mine)
	}
	return nil
}
