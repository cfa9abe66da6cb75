package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/firstseen/firstseen/adapters/kafka/partitioned"
	"github.com/firstseen/firstseen/engine"
)

const kafkaLong = `Copies a Kafka topic to another without its duplicates, exactly once: a key that has
come within the window is not copied again. Records keep their key, value, headers,
timestamp and partition. Start it on as many machines as there are partitions: all
with one --group share the work, and whoever gets a partition knows what the one
before it knew.

Outputs, offsets and the log of marks commit in one transaction. The log of marks is
a topic of its own, FROM-marks unless --marks says otherwise, made at the first start
with as many partitions as --from. Consumers of --to must read committed records only
(isolation.level=read_committed). The directory is a cache of the log: with --dir a
restart reads what is new in it, without --dir all of the window.

KEY is the record's own key, a header, or a part of its JSON value:
  key                 the record's key
  header:NAME         the last header of this name
  json:PATH           what gjson finds in the value; json:A,B is several as one key
A record that has no key is copied without deduplication. Producers must partition by
what KEY says, or duplicates reach different partitions; records that lie elsewhere
are counted, and the first one is told of.

A password is read from the file of --password-file, or from FIRSTSEEN_KAFKA_PASSWORD.
SIGTERM and Ctrl-C end the transaction under way and give the partitions to the
others; then the exit code is 0.`

// kafkaFlags are the command line of kafka.
type kafkaFlags struct {
	cluster    clusterFlags
	node       partitioned.Options
	key        recordKeyFlag
	window     windowFlag
	dir        string
	memory     sizeFlag
	minFree    sizeFlag
	minFreeSet bool
	listen     string
	stats      bool
	quiet      bool
}

func newKafka(a *app) *cobra.Command {
	o := &kafkaFlags{window: windowFlag(24 * time.Hour)}
	cmd := &cobra.Command{
		Use:   "kafka",
		Short: "Copy a Kafka topic without its duplicates, exactly once",
		Long:  kafkaLong,
		Example: `  firstseen kafka --brokers k1:9092,k2:9092 --from orders --to orders-once --group dedup --window 7d
  firstseen kafka --brokers k1:9093 --tls --sasl scram-sha-512 --user dedup --password-file secret \
    --from events --to events-once --group dedup --key json:event.id --dir /var/lib/dedup --listen :9100
  firstseen kafka marks --brokers k1:9092 --topic orders-marks`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.minFreeSet = cmd.Flags().Changed("min-free")
			return runKafka(cmd.Context(), a, o)
		},
	}
	o.bind(cmd)
	cmd.AddCommand(newKafkaMarks(a), newKafkaPrime(a))
	return cmd
}

func newKafkaPrime(a *app) *cobra.Command {
	o := &kafkaFlags{window: windowFlag(24 * time.Hour)}
	cmd := &cobra.Command{
		Use:   "prime TOPIC",
		Short: "Fill the log of marks before the first start",
		Long: `Marks the keys of a topic that was written or handled before, so that the first window
of firstseen kafka passes no duplicates of them. TOPIC is an output, such as --to: all
its records of the window count. Or it is --from: those count that --group has
committed. Run it once, with the options of firstseen kafka, before the first of them
is started. It prints counts as JSON. When it was cut short, run it again.`,
		Example: `  firstseen kafka prime --brokers k1:9092 --from orders --to orders-once --group dedup --window 7d orders-once`,
		Args:    exactly("TOPIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.requireOutput(); err != nil {
				return err
			}
			n, err := o.options(a)
			if err != nil {
				return err
			}
			stats, err := partitioned.Prime(cmd.Context(), n, args[0])
			if err != nil {
				return err
			}
			return printJSON(a.out, stats)
		},
	}
	o.bind(cmd)
	return cmd
}

func (o *kafkaFlags) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.node.Input, "from", "", "`TOPIC` to copy")
	f.StringVar(&o.node.Output, "to", "", "`TOPIC` for the records whose key is new; it has at least as many partitions")
	f.StringVar(&o.node.Group, "group", "", "consumer `GROUP`: all that share the work have the same")
	f.Var(&o.key, "key", "where a record's key is: key, header:NAME or json:PATH")
	f.Var(&o.window, "window", "how long a key is remembered, such as 90m or 7d")
	f.StringVar(&o.node.Duplicates, "duplicates", "", "`TOPIC` for the duplicates, which are dropped otherwise")
	f.BoolVar(&o.node.Observe, "observe", false, "copy every record, and only count the duplicates")
	f.StringVar(&o.node.Marks, "marks", "", "`TOPIC` of the log of marks (default that of --from with -marks behind)")
	f.StringVar(&o.node.TransactionalID, "id", "", "transactional `ID`, another for each process and the same after its restart, which then waits for no timeout (default one by chance)")
	f.StringVar(&o.dir, "dir", "", "`DIR` that caches the log of marks from start to start, this process's alone; made when it does not exist")
	f.IntVar(&o.node.Batch, "batch", 10_000, "most records of a transaction, `N`")
	f.BoolVar(&o.node.AnyPartition, "any-partition", false, "producers don't partition by the key on purpose: don't warn")
	f.StringVar(&o.listen, "listen", "", "`ADDRESS` to serve metrics for Prometheus on, under /metrics, such as :9100")
	f.Uint64Var(&o.node.Engine.Capacity, "capacity", 0, "keys expected within the window, in the whole topic; a hint, more is no harm")
	f.IntVar(&o.node.Engine.KeyBytes, "key-bytes", 0, "usual length of a key in bytes; a hint")
	f.Var(&o.memory, "memory", "memory to stay within, such as 512M, with all partitions here (default by the machine)")
	f.Var(&o.minFree, "min-free", "disk space to leave free, such as 1G (default 256 MiB, at most a twentieth of the disk)")
	f.BoolVar(&o.stats, "stats", false, "print counts as one line of JSON on standard error at the end")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "tell of troubles only")
	o.cluster.bind(cmd)
	_ = cmd.MarkFlagDirname("dir")
	_ = cmd.RegisterFlagCompletionFunc("key", cobra.FixedCompletions([]string{"key", "header:", "json:"}, cobra.ShellCompDirectiveNoFileComp))
}

// options fills in what partitioned wants, or says what is missing.
func (o *kafkaFlags) options(a *app) (partitioned.Options, error) {
	n := o.node
	for _, flag := range []struct{ name, value string }{{"from", n.Input}, {"to", n.Output}, {"group", n.Group}} {
		if flag.value == "" {
			return n, usagef("--%s is missing", flag.name)
		}
	}
	switch {
	case n.Output == n.Input || n.Duplicates == n.Input:
		return n, usagef("a record that is copied to %q, where it comes from, would be copied again and again", n.Input)
	case n.Batch < 1:
		return n, usagef("--batch is at least 1, not %d", n.Batch)
	case o.memory != 0 && o.memory < minMemory:
		return n, usagef("--memory %s is too little; the least is %s", o.memory.String(), size(minMemory))
	}
	var err error
	if n.Client, err = o.cluster.options(); err != nil {
		return n, err
	}
	n.Key = o.key.extract()
	n.Engine.Window, n.Engine.Sync = time.Duration(o.window), engine.SyncInterval
	if o.dir == "" {
		n.Engine.Sync = engine.SyncNone // nothing outlives the run
	}
	o.memory.apply(&n.Engine)
	if o.minFreeSet {
		n.Engine.MinFreeDisk = int64(o.minFree)
		if o.minFree == 0 {
			n.Engine.MinFreeDisk = -1
		}
	}
	level := slog.LevelInfo
	if o.quiet {
		level = slog.LevelWarn
	}
	n.Logger = slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level}))
	return n, nil
}

func runKafka(ctx context.Context, a *app, o *kafkaFlags) (err error) {
	n, err := o.options(a)
	if err != nil {
		return err
	}
	if n.Dir = o.dir; n.Dir == "" {
		temp, err := a.makeTemp()
		if err != nil {
			return err
		}
		defer func() { _ = temp.remove() }()
		n.Dir = temp.engine()
	}
	node, err := partitioned.New(n)
	if err != nil {
		return err
	}
	if o.listen != "" {
		stop, err := serveMetrics(a, o.listen, node.Stats)
		if err != nil {
			return err
		}
		defer stop()
	}
	err = node.Run(ctx)
	if o.stats {
		line, jsonErr := json.Marshal(node.Stats())
		if jsonErr == nil {
			_, jsonErr = fmt.Fprintf(a.err, "%s\n", line)
		}
		err = errors.Join(err, jsonErr)
	}
	return err
}
