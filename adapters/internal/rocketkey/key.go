// Package rocketkey chooses the key of a RocketMQ message, for the adapters of
// both clients. All functions may be called by any number of goroutines at once.
package rocketkey

import (
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
)

// A Chooser chooses keys and watches for ids that can't be trusted. The zero value
// is ready.
type Chooser struct {
	Logger *slog.Logger // nil: no warnings

	warned sync.Once
	weak   atomic.Uint64
}

// Choose returns the key of a message, or "": the first business key (KEYS), the
// id that the producer made (UNIQ_KEY), or the one that the first delivery had
// (ORIGIN_MESSAGE_ID). Those stay what they are when a message is sent back; the
// id of the place in the log (offset id), which does not, is never taken.
func (c *Chooser) Choose(businessKeys []string, uniqueKey, originID string) string {
	for _, key := range businessKeys {
		if key != "" {
			return key
		}
	}
	if uniqueKey == "" {
		return originID
	}
	if MadeByGoV2(uniqueKey) {
		c.weak.Add(1)
		if c.Logger != nil {
			c.warned.Do(func() {
				c.Logger.Warn("rocketmq: messages without KEYS have ids of the Go v2 producer, which repeat when a process "+
					"sends more than 65,536 messages in a second, and repeated ids lose messages: give messages KEYS", "id", uniqueKey)
			})
		}
	}
	return uniqueKey
}

// Weak returns how many messages had nothing but an id of the Go v2 producer.
func (c *Chooser) Weak() uint64 { return c.weak.Load() }

// MadeByGoV2 reports whether an id was made by rocketmq-client-go v2: 32 upper-case
// hexadecimal digits, of which those for the class loader, digits 13 to 20, are
// zero. Java has a hash there.
func MadeByGoV2(id string) bool {
	return len(id) == 32 && id[12:20] == "00000000" && strings.Trim(id, "0123456789ABCDEF") == ""
}
