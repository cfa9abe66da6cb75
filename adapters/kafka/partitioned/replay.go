package partitioned

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/adapters/kafka/marks"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
)

// A reach is the piece of a partition's log that has to be read.
type reach struct {
	id           int32
	start        int64 // where the log begins
	window       int64 // where the window begins
	end          int64
	topic, topID string
}

// replay brings a partition's directory up to its log. It returns the position that
// it has come to.
func (s *session) replay(ctx context.Context, id int32) (position, engine.LoadStats, error) {
	r, err := s.reachOf(ctx, id)
	if err != nil {
		return position{}, engine.LoadStats{}, err
	}
	dir := s.directory(id)
	pos, ok := readPosition(dir + ".position")
	if ok && pos.Topic == r.topic && pos.TopicID == r.topID && pos.Offset <= r.end {
		o := s.engine
		o.NotBefore = pos.NotBefore
		got, stats, err := s.read(ctx, r, pos.Offset, o)
		if !errors.Is(err, dedup.ErrCorrupt) {
			return got, stats, err
		}
		s.o.Logger.Warn("partitioned: the directory is lost, damaged or an older copy; it is filled anew", "partition", id, "error", err)
	}
	// The file goes first: a directory without it is never trusted.
	for _, path := range []string{dir + ".position", dir} {
		if err := os.RemoveAll(path); err != nil {
			return position{}, engine.LoadStats{}, fmt.Errorf("making room for a new directory: %w", err)
		}
	}
	o := s.engine
	o.NotBefore = 0
	return s.read(ctx, r, r.window, o)
}

// reachOf asks for the end of the log after the group's offsets are stable: the
// transactions of earlier owners have been decided then, and later ones are refused.
func (s *session) reachOf(ctx context.Context, id int32) (reach, error) {
	r := reach{id: id, topic: s.o.Marks}
	for {
		offsets, err := s.adm.FetchOffsets(kadm.RequireStable(ctx), s.o.Group)
		if err == nil {
			o, _ := offsets.Lookup(s.o.Input, id)
			err = o.Err
		}
		if err == nil {
			break
		}
		if !errors.Is(err, kerr.UnstableOffsetCommit) {
			return r, fmt.Errorf("offsets of the group: %w", err)
		}
		timer := time.NewTimer(100 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return r, context.Cause(ctx)
		case <-timer.C:
		}
	}
	topics, err := s.adm.ListTopics(ctx, s.o.Marks)
	if err != nil {
		return r, fmt.Errorf("the log's topic: %w", err)
	}
	r.topID = fmt.Sprint(topics[s.o.Marks].ID)
	find := func(at *int64, list kadm.ListedOffsets, err error) error {
		if err != nil {
			return fmt.Errorf("offsets of the log: %w", err)
		}
		o, ok := list.Lookup(s.o.Marks, id)
		if !ok {
			return errors.New("offsets of the log: the partition is not there")
		}
		*at = o.Offset
		return o.Err
	}
	list, err := s.adm.ListEndOffsets(ctx, s.o.Marks)
	if err := find(&r.end, list, err); err != nil {
		return r, err
	}
	list, err = s.adm.ListStartOffsets(ctx, s.o.Marks)
	if err := find(&r.start, list, err); err != nil {
		return r, err
	}
	list, err = s.adm.ListOffsetsAfterMilli(ctx, time.Now().Add(-s.o.reach()).UnixMilli(), s.o.Marks)
	return r, find(&r.window, list, err)
}

// read loads the log from an offset on until its end has been passed.
func (s *session) read(ctx context.Context, r reach, from int64, o engine.Options) (position, engine.LoadStats, error) {
	if from < r.start {
		s.gap(r.id, fmt.Sprintf("the log begins at offset %d, the directory ends at %d", r.start, from))
		from = r.start
	}
	pos := position{Topic: r.topic, TopicID: r.topID, Offset: max(from, r.end)}
	opts := append(append([]kgo.Opt{}, s.o.Client...), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.o.Marks: {r.id: kgo.NewOffset().At(from)}}))
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return pos, engine.LoadStats{}, fmt.Errorf("client: %w", err)
	}
	defer cl.Close()
	var failed error
	stats, err := engine.Load(ctx, s.directory(r.id), o, func(yield func(time.Time, [][]byte) bool) {
		failed = s.records(ctx, cl, r, from, yield)
	})
	if err == nil {
		err = failed
	}
	return pos, stats, err
}

// records yields the marks of the log's records. An abort leaves a control record
// behind what it aborted, so the end is always passed by a record that is seen.
func (s *session) records(ctx context.Context, cl *kgo.Client, r reach, from int64, yield func(time.Time, [][]byte) bool) error {
	var keys [][]byte
	for next := from; next < r.end; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("reading: %w", err)
		}
		for _, rec := range fetches.Records() {
			if next = rec.Offset + 1; rec.Attrs.IsControl() {
				continue
			}
			at, got, err := marks.Decode(keys[:0], rec.Value)
			if err != nil {
				return fmt.Errorf("offset %d: %w", rec.Offset, err)
			}
			if rec.Offset == r.start && r.start > 0 && from == r.start && at.After(time.Now().Add(-s.o.Engine.Window)) {
				s.gap(r.id, fmt.Sprintf("the log begins at %v, within the window", at))
			}
			keys = got
			s.loaded.Add(uint64(len(got)))
			if !yield(at, got) {
				return errors.New("the load was cut short")
			}
		}
	}
	return nil
}

func (s *session) gap(id int32, why string) {
	s.gaps.Add(1)
	s.o.Logger.Error("partitioned: marks within the window are missing, duplicates may pass", "partition", id, "why", why)
	if s.o.OnGap != nil {
		s.o.OnGap(id, why)
	}
}
