package partitioned

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// topicsWait is how long a topic may take to be known to the broker that is asked:
// one that has just been made is not known everywhere at once.
const topicsWait = 15 * time.Second

// prepare checks the topics, makes the log of marks where there is none, and returns
// the number of partitions.
func prepare(ctx context.Context, adm *kadm.Client, o Options) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for giveUp := time.Now().Add(topicsWait); ; {
		n, err := prepareOnce(ctx, adm, o)
		if !errors.Is(err, kerr.UnknownTopicOrPartition) || time.Now().After(giveUp) {
			return n, err
		}
		pause(ctx, 100*time.Millisecond)
	}
}

func prepareOnce(ctx context.Context, adm *kadm.Client, o Options) (int, error) {
	names := []string{o.Input, o.Marks}
	for _, name := range []string{o.Output, o.Duplicates} {
		if name != "" {
			names = append(names, name)
		}
	}
	topics, err := adm.ListTopics(ctx, names...)
	if err != nil {
		return 0, fmt.Errorf("partitioned: listing topics: %w", err)
	}
	n := len(topics[o.Input].Partitions)
	for _, name := range names {
		if name == o.Marks {
			continue
		}
		if err := topics[name].Err; err != nil {
			return 0, fmt.Errorf("partitioned: topic %q: %w", name, err)
		}
		if out := len(topics[name].Partitions); out < n {
			return 0, fmt.Errorf("partitioned: topic %q has %d partitions, the input has %d", name, out, n)
		}
	}
	if errors.Is(topics[o.Marks].Err, kerr.UnknownTopicOrPartition) {
		policy, keep, unbounded := "delete", strconv.FormatInt(o.reach().Milliseconds(), 10), "-1"
		_, err := adm.CreateTopic(ctx, int32(n), -1, map[string]*string{
			"cleanup.policy": &policy, "retention.ms": &keep, "retention.bytes": &unbounded}, o.Marks)
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return 0, fmt.Errorf("partitioned: making the log of marks %q: %w", o.Marks, err)
		}
		return 0, kerr.UnknownTopicOrPartition // until it can be seen, and is checked
	}
	if err := topics[o.Marks].Err; err != nil {
		return 0, fmt.Errorf("partitioned: topic %q: %w", o.Marks, err)
	}
	switch logs := len(topics[o.Marks].Partitions); {
	case logs > n:
		return 0, fmt.Errorf("partitioned: the log of marks %q has %d partitions, the input has %d", o.Marks, logs, n)
	case logs < n:
		return 0, fmt.Errorf("partitioned: the log of marks %q has %d partitions, the input has %d: where partitions were added to the input,"+
			" keys have moved, and duplicates of earlier records may pass for a window; add as many to the log and start again", o.Marks, logs, n)
	}
	return n, checkRetention(ctx, adm, o)
}

// checkRetention: the log must hold a window.
func checkRetention(ctx context.Context, adm *kadm.Client, o Options) error {
	configs, err := adm.DescribeTopicConfigs(ctx, o.Marks)
	if err != nil {
		return fmt.Errorf("partitioned: settings of the log of marks %q: %w", o.Marks, err)
	}
	config, err := configs.On(o.Marks, nil)
	if err == nil {
		err = config.Err
	}
	if err != nil {
		return fmt.Errorf("partitioned: settings of the log of marks %q: %w", o.Marks, err)
	}
	for _, c := range config.Configs {
		switch c.Key {
		case "cleanup.policy":
			if v := c.MaybeValue(); v != "delete" {
				return fmt.Errorf("partitioned: the log of marks %q has cleanup.policy=%s, it must be delete", o.Marks, v)
			}
		case "retention.ms":
			ms, err := strconv.ParseInt(c.MaybeValue(), 10, 64)
			if err != nil || ms >= 0 && ms < o.Engine.Window.Milliseconds() {
				return fmt.Errorf("partitioned: the log of marks %q has retention.ms=%s, the window is %d", o.Marks, c.MaybeValue(),
					o.Engine.Window.Milliseconds())
			}
		case "retention.bytes":
			if v := c.MaybeValue(); v != "-1" {
				return fmt.Errorf("partitioned: the log of marks %q has retention.bytes=%s, it must be -1", o.Marks, v)
			}
		}
	}
	return nil
}
