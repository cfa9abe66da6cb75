package consume

import (
	"context"
	"time"

	"github.com/firstseen/firstseen/dedup/keys"
)

// A Message is what an adapter knows of one delivery.
type Message struct {
	// Key is what makes two deliveries the same message. Where it is nil,
	// Options.Key is asked.
	Key []byte
	// Topic and Tag are parts of the scope; empty where the broker has none, or
	// where duplicates shall be recognised across them.
	Topic, Tag string
	// Deliveries counts the deliveries of this message, this one included;
	// 0: not known.
	Deliveries int
	// LastDelivery says that the broker gives the message up after this one. A
	// message that is in flight elsewhere then waits in place, up to
	// Options.WaitMax, since a Retry would send it to the dead letters.
	LastDelivery bool
	// Wait is how long the message may wait in place for another holder even
	// if it is not the last delivery: for brokers that can't delay a delivery.
	Wait time.Duration
	// Value is the broker's own message, for handlers and hooks.
	Value any
}

// A Handler has the message's effect. An error releases the key and has the
// message delivered again; one that wraps ErrReject has it refused for good. A
// panic counts as an error. The context ends with the caller's, when the claim's
// lease is lost, or when Close runs out of patience; [context.Cause] tells. It
// carries the Work of this message.
type Handler func(ctx context.Context, m Message) error

// A Scope separates keys that have nothing to do with each other. Application and
// Instance stand in Options, Topic and Tag come with each message.
type Scope struct {
	Application string `json:"application,omitempty"`
	Topic       string `json:"topic,omitempty"`
	Tag         string `json:"tag,omitempty"`
	// Instance is set where each instance shall handle every message
	// (broadcasting). It must be the same after a restart.
	Instance string `json:"instance,omitempty"`
}

// JoinedKey appends the guard's key for a message's key to dst: the scope's parts
// and the key, joined as package keys does it, so that no two of them give the
// same. It is the default of Options.Join.
func JoinedKey(dst []byte, s Scope, key []byte) []byte {
	return keys.Append(keys.Append(dst, s.Application, s.Topic, s.Tag, s.Instance), key)
}

// PlainKey appends the message's key alone. For a guard that serves one scope
// only: 16-byte keys, UUIDs and ULIDs then cost the engine least.
func PlainKey(dst []byte, _ Scope, key []byte) []byte { return append(dst, key...) }
