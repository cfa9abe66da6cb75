package redisstore

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/firstseen/firstseen/internal/freeport"
	"github.com/firstseen/firstseen/internal/servertest"
)

// A redisProcess is a redis-server with a configuration of its own; servertest starts
// single servers only.
type redisProcess struct {
	t    testing.TB
	cmd  *exec.Cmd
	addr string
	host string
	port string
}

// startRedis starts redis-server in a directory of its own with the lines of its
// configuration; ports is how many it gets, the first of which it listens on.
func startRedis(t testing.TB, sentinel bool, config func(ports []string) []string) *redisProcess {
	t.Helper()
	servertest.Shared(t, servertest.Redis) // says so where there is none
	ports := freePorts(t, 2)
	dir := t.TempDir()
	lines := append([]string{"port " + ports[0], "bind 127.0.0.1", "dir " + dir, `save ""`, "appendonly no"}, config(ports)...)
	file := filepath.Join(dir, "redis.conf")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{file}
	if sentinel {
		args = append(args, "--sentinel")
	}
	p := &redisProcess{t: t, cmd: exec.Command("redis-server", args...), host: "127.0.0.1", port: ports[0], addr: net.JoinHostPort("127.0.0.1", ports[0])}
	var said bytes.Buffer
	p.cmd.Stdout = &said
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("redis-server on %s:\n%s", p.addr, &said)
		}
	})
	c := clientAt(t, p.addr)
	eventually(t, "redis-server answers", func() bool { return c.Ping(ctx).Err() == nil })
	return p
}

// kill ends it at once, if it still runs.
func (p *redisProcess) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

func freePorts(t testing.TB, n int) (ports []string) {
	t.Helper()
	for range n {
		port, err := freeport.Get()
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, strconv.Itoa(port))
	}
	return ports
}

// startCluster starts three masters with a replica each and returns the masters.
func startCluster(t testing.TB) (masters []*redisProcess, client *redis.ClusterClient) {
	t.Helper()
	var all []*redisProcess
	var bus []string
	for range 6 {
		all = append(all, startRedis(t, false, func(ports []string) []string {
			bus = append(bus, ports[1])
			return []string{
				"cluster-enabled yes", "cluster-port " + ports[1], "cluster-node-timeout 2000",
				"cluster-replica-validity-factor 0", "repl-diskless-sync-delay 0",
			}
		}))
	}
	var ids []string
	for i, p := range all {
		c := clientAt(t, p.addr)
		ids = append(ids, c.ClusterMyID(ctx).Val())
		if i < 3 {
			from, to := 16384*i/3, 16384*(i+1)/3-1
			if err := c.Do(ctx, "cluster", "addslotsrange", from, to).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Do(ctx, "cluster", "set-config-epoch", i+1).Err(); err != nil {
			t.Fatal(err)
		}
	}
	first := clientAt(t, all[0].addr)
	for i, p := range all[1:] {
		if err := first.Do(ctx, "cluster", "meet", p.host, p.port, bus[i+1]).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for i, p := range all[3:] {
		c := clientAt(t, p.addr)
		eventually(t, "the replica's node knows its master", func() bool {
			return c.ClusterReplicate(ctx, ids[i]).Err() == nil
		})
	}
	var addrs []string
	for _, p := range all {
		addrs = append(addrs, p.addr)
		c := clientAt(t, p.addr)
		eventually(t, "the cluster stands, for each node", func() bool {
			info := c.ClusterInfo(ctx).Val()
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:6")
		})
	}
	for _, p := range all[3:] {
		c := clientAt(t, p.addr)
		eventually(t, "the replicas follow", func() bool {
			return strings.Contains(c.Info(ctx, "replication").Val(), "master_link_status:up")
		})
	}
	client = redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, DialerRetries: 1, DialTimeout: time.Second, ReadTimeout: time.Second})
	t.Cleanup(func() { client.Close() })
	return all[:3], client
}

// startSentinel starts a master with two replicas and three Sentinels.
func startSentinel(t testing.TB) (master *redisProcess, client *redis.Client) {
	t.Helper()
	plain := func([]string) []string { return []string{"repl-diskless-sync-delay 0"} }
	master = startRedis(t, false, plain)
	for range 2 {
		p := startRedis(t, false, func([]string) []string {
			return []string{"replicaof " + master.host + " " + master.port, "repl-diskless-sync-delay 0"}
		})
		c := clientAt(t, p.addr)
		eventually(t, "the replicas follow", func() bool {
			return strings.Contains(c.Info(ctx, "replication").Val(), "master_link_status:up")
		})
	}
	var addrs []string
	for range 3 {
		p := startRedis(t, true, func([]string) []string {
			return []string{
				fmt.Sprintf("sentinel monitor store %s %s 2", master.host, master.port),
				"sentinel down-after-milliseconds store 1000", "sentinel failover-timeout store 5000",
			}
		})
		addrs = append(addrs, p.addr)
	}
	for _, addr := range addrs {
		s := redis.NewSentinelClient(&redis.Options{Addr: addr})
		t.Cleanup(func() { s.Close() })
		eventually(t, "the Sentinels know each other and the replicas", func() bool {
			return len(s.Sentinels(ctx, "store").Val()) == 2 && len(s.Replicas(ctx, "store").Val()) == 2
		})
	}
	client = redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: "store", SentinelAddrs: addrs, DialerRetries: 1, DialTimeout: time.Second, ReadTimeout: time.Second,
	})
	t.Cleanup(func() { client.Close() })
	return master, client
}
