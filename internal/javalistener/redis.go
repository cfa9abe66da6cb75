package javalistener

import (
	"context"
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"
)

// A Redis is a Java consumer with RedisPersist.
type Redis struct {
	testing.TB
	Client *redis.Client
}

func record(app, topic, tag, key string) string {
	name := "MSGDEDUP:" + app + ":" + topic
	if tag != "" {
		name += ":" + tag
	}
	return name + ":" + key
}

// do sends a command; nil is Redis's answer that there is nothing.
func (j Redis) do(args ...any) any {
	j.Helper()
	got, err := j.Client.Do(context.Background(), args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		j.Fatalf("%v: %v", args, err)
	}
	return got
}

// Want claims a message's key. want is "" if the handler is to run, and the value
// that Java finds otherwise.
func (j Redis) Want(want, app, topic, tag, key string) {
	j.Helper()
	name := record(app, topic, tag, key)
	var got any = ""
	if j.do("SET", name, "CONSUMING", "nx", "px", lease) == nil {
		got = j.do("GET", name)
	}
	if got != want {
		j.Fatalf("Java finds %q, want %q", got, want)
	}
}

// Done marks a key.
func (j Redis) Done(app, topic, tag, key string) {
	j.Helper()
	j.do("SETEX", record(app, topic, tag, key), window/1000, "CONSUMED")
}

// Failed deletes a key's record, whoever owns it.
func (j Redis) Failed(app, topic, tag, key string) {
	j.Helper()
	j.do("DEL", record(app, topic, tag, key))
}
