package peers

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/firstseen/firstseen/bench"
	"github.com/firstseen/firstseen/dedup"
)

// redisTTL is by the wall clock and longer than any run.
const redisTTL = 24 * time.Hour

func redisCandidate() bench.Candidate {
	return bench.Candidate{
		Name: "redis", About: "Redis on loopback, SET key 1 NX EX, one pipeline per call, no persistence",
		Class: bench.Memory, Modules: []string{"github.com/redis/go-redis/v9"},
		Open: openRedis,
	}
}

// redisTarget sends one pipeline per call.
type redisTarget struct {
	server  *server
	client  *redis.Client
	version string
}

func openRedis(ctx context.Context, s bench.Setup) (bench.Target, error) {
	program, err := findProgram([]string{"redis-server", "valkey-server"})
	if err != nil {
		return nil, err
	}
	dir, err := dataDir(s.Dir, "redis")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	client := redis.NewClient(&redis.Options{Addr: address(port), PoolSize: s.Callers + 1})
	ready := func(ctx context.Context) error { return client.Ping(ctx).Err() }
	srv, err := startServer(ctx, dir, ready, program,
		"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no")
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	t := &redisTarget{server: srv, client: client}
	info, err := client.Info(ctx, "server").Result()
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(line, "redis_version:"); ok {
			t.version = "Redis " + strings.TrimSpace(v)
		}
	}
	return t, nil
}

// Version says which Redis it is.
func (t *redisTarget) Version() string { return t.version }

func (t *redisTarget) Admit(ctx context.Context, vs []dedup.Verdict, keys [][]byte) ([]dedup.Verdict, error) {
	pipe := t.client.Pipeline()
	answers := make([]*redis.BoolCmd, len(keys))
	for i, key := range keys {
		answers[i] = pipe.SetNX(ctx, string(key), "1", redisTTL)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return vs, err
	}
	for _, answer := range answers {
		vs = append(vs, verdictOf(!answer.Val()))
	}
	return vs, nil
}

func (t *redisTarget) Usage() bench.Usage { return bench.Usage{Process: t.server.memory()} }

func (t *redisTarget) Close() error {
	return errors.Join(t.client.Close(), t.server.stop())
}
