package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/firstseen/firstseen/dedup"
)

// nodes remember the servers that were seen, by their run ids.
type nodes struct {
	mu struct {
		sync.Mutex
		evicted map[string]int64 // evicted_keys when last asked
	}
}

// noEviction is the only policy under which Redis never removes a record early.
const noEviction = "noeviction"

// check asks every node for its policy and its evictions. What makes a node unfit is
// an error; evictions since the last check are a gap. A node's evictions before New
// are none of ours, but those of one that shows up later are.
func (s *Store) check(ctx context.Context, first bool) error {
	s.checked.Store(time.Now().UnixNano())
	var mu sync.Mutex
	var infos []map[string]string
	ask := func(ctx context.Context, node redis.Cmdable) error {
		text, err := node.Info(ctx).Result()
		if err != nil {
			if s.opts.AllowEviction && first {
				err = nil // it was said that this may be
			}
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		infos = append(infos, parseInfo(text))
		return nil
	}
	var err error
	if cc, ok := s.client.(*redis.ClusterClient); ok {
		err = cc.ForEachShard(ctx, func(ctx context.Context, node *redis.Client) error { return ask(ctx, node) })
	} else {
		err = ask(ctx, s.client)
	}
	if err != nil {
		err = fmt.Errorf("redisstore: asking the nodes for their policy (INFO): %w", err)
	}
	errs := []error{err}
	for _, info := range infos {
		errs = append(errs, s.judge(info, first))
	}
	return errors.Join(errs...)
}

// judge looks at one node's INFO.
func (s *Store) judge(info map[string]string, first bool) error {
	id := info["run_id"]
	evicted, _ := strconv.ParseInt(info["evicted_keys"], 10, 64)
	s.nodes.mu.Lock()
	if s.nodes.mu.evicted == nil {
		s.nodes.mu.evicted = make(map[string]int64)
	}
	known := s.nodes.mu.evicted[id]
	if first || evicted < known { // or its statistics were reset
		known = evicted
	}
	s.nodes.mu.evicted[id] = evicted
	s.nodes.mu.Unlock()

	if evicted > known {
		s.stats.evicted.Add(uint64(evicted - known))
		s.tell(s.watch.found(fmt.Sprintf("a server evicted %d keys", evicted-known)))
	}
	if _, cluster := s.client.(*redis.ClusterClient); info["cluster_enabled"] == "1" && !cluster {
		return fmt.Errorf("redisstore: %w: the server is part of a cluster, so it takes a redis.ClusterClient", dedup.ErrUnsupported)
	}
	if policy := info["maxmemory_policy"]; policy != noEviction && !s.opts.AllowEviction {
		return fmt.Errorf("redisstore: %w: maxmemory-policy is %q, under which marks can vanish early: "+
			"make it noeviction or set Options.AllowEviction", dedup.ErrUnsupported, policy)
	}
	return nil
}

func parseInfo(text string) map[string]string {
	info := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info
}

// checkIfDue starts a check beside the caller. It ends by itself after checkLimit.
func (s *Store) checkIfDue() {
	last := s.checked.Load()
	now := time.Now().UnixNano()
	if now-last < int64(s.opts.CheckEvery) || !s.checked.CompareAndSwap(last, now) {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), checkLimit)
		defer cancel()
		if err := s.check(ctx, false); err != nil {
			s.opts.Logger.Warn("redisstore: checking the nodes", "err", err)
		}
	}()
}
