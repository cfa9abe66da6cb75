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
	topics, err := listTopics(ctx, adm, o)
	if err != nil {
		return 0, err
	}
	n, err := checkOutputs(topics, o)
	if err != nil {
		return 0, err
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
	if err := checkLog(topics, o, n); err != nil {
		return 0, err
	}
	return n, checkRetention(ctx, adm, o)
}

// listTopics asks for the topics of the options.
func listTopics(ctx context.Context, adm *kadm.Client, o Options) (kadm.TopicDetails, error) {
	topics, err := adm.ListTopics(ctx, append(o.outputs(), o.Input, o.Marks)...)
	if err != nil {
		return nil, fmt.Errorf("partitioned: listing topics: %w", err)
	}
	return topics, nil
}

// outputs returns the topics that records are copied to.
func (o Options) outputs() (names []string) {
	for _, name := range []string{o.Output, o.Duplicates} {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// checkOutputs returns the input's number of partitions. The outputs must have as many.
func checkOutputs(topics kadm.TopicDetails, o Options) (int, error) {
	if err := topics[o.Input].Err; err != nil {
		return 0, fmt.Errorf("partitioned: topic %q: %w", o.Input, err)
	}
	n := len(topics[o.Input].Partitions)
	for _, name := range o.outputs() {
		if err := topics[name].Err; err != nil {
			return n, fmt.Errorf("partitioned: topic %q: %w", name, err)
		}
		if out := len(topics[name].Partitions); out < n {
			return n, fmt.Errorf("partitioned: topic %q has %d partitions, the input has %d: %s", name, out, n, alter(name, n))
		}
	}
	return n, nil
}

// checkLog requires that the log of marks has as many partitions as the input.
func checkLog(topics kadm.TopicDetails, o Options, n int) error {
	if err := topics[o.Marks].Err; err != nil {
		return fmt.Errorf("partitioned: topic %q: %w", o.Marks, err)
	}
	switch logs := len(topics[o.Marks].Partitions); {
	case logs > n:
		return fmt.Errorf("partitioned: the log of marks %q has %d partitions, the input has %d", o.Marks, logs, n)
	case logs < n:
		return fmt.Errorf("partitioned: the log of marks %q has %d partitions, the input has %d: where partitions were added to the input,"+
			" keys have moved, and duplicates of earlier records may pass for a window; %s", o.Marks, logs, n, alter(o.Marks, n))
	}
	return nil
}

// alter says how a topic gets its partitions.
func alter(topic string, n int) string {
	return fmt.Sprintf("give it as many (kafka-topics.sh --alter --topic %s --partitions %d)", topic, n)
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
