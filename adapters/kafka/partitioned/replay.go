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

// tellEvery is how often the progress of a long load is logged.
const tellEvery = 5 * time.Second

// A reach is the piece of a partition's log that has to be read.
type reach struct {
	id           int32
	start        int64 // where the log begins
	window       int64 // where the window begins
	end          int64
	topic, topID string
}

// A replayed is a directory that has come up to its log.
type replayed struct {
	e        *engine.Engine // nil: the directory is not open
	position position       // that it has come to
	durable  position       // that it has come to durably
	stats    engine.LoadStats
}

// replay brings a partition's directory up to its log.
func (s *session) replay(ctx context.Context, m *memory) (replayed, error) {
	id := m.id
	r, err := s.reachOf(ctx, id)
	if err != nil {
		return replayed{}, err
	}
	dir := s.directory(id)
	pos, ok := readPosition(dir + ".position")
	if ok && pos.Topic == r.topic && pos.TopicID == r.topID && pos.Offset <= r.end {
		o := s.engine
		o.NotBefore = pos.NotBefore
		got, err := s.follow(ctx, m, r, pos, o)
		if errors.Is(err, errOld) {
			got, err = s.read(ctx, m, r, pos.Offset, o)
		}
		if pos.Partitions > 0 {
			got.position.Partitions = pos.Partitions
		}
		if !errors.Is(err, dedup.ErrCorrupt) {
			return got, err
		}
		s.o.Logger.Warn("partitioned: the directory is lost, damaged or an older copy; it is filled anew", "partition", id, "error", err)
	}
	// The file goes first: a directory without it is never trusted.
	for _, path := range []string{dir + ".position", dir} {
		if err := os.RemoveAll(path); err != nil {
			return replayed{}, fmt.Errorf("making room for a new directory: %w", err)
		}
	}
	o := s.engine
	o.NotBefore = 0
	return s.read(ctx, m, r, r.window, o)
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
		if pause(ctx, 100*time.Millisecond); ctx.Err() != nil {
			return r, context.Cause(ctx)
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
func (s *session) read(ctx context.Context, m *memory, r reach, from int64, o engine.Options) (replayed, error) {
	if from < r.start {
		s.gap(r.id, fmt.Sprintf("the log begins at offset %d, the directory ends at %d", r.start, from))
		from = r.start
	}
	s.begin(m, r, from)
	var failed error
	stats, err := engine.Load(ctx, s.directory(r.id), o, func(yield func(time.Time, [][]byte) bool) {
		failed = s.records(ctx, m, r, from, yield)
	})
	if err == nil {
		err = failed
	}
	return replayed{position: r.position(from, m.fewest), stats: stats}, err
}

// errOld: marks are too old to be made now.
var errOld = errors.New("old marks")

// follow opens a directory and marks in it what the log has beyond its position. A load
// marks each key at its own time, at the price of opening the directory twice and writing
// its filters. Where all marks are younger than a hundredth of the window they are made now
// instead, and forgotten later by at most that. Else its error is errOld, as with SyncAlways,
// which would sync for each record of the log.
func (s *session) follow(ctx context.Context, m *memory, r reach, pos position, o engine.Options) (replayed, error) {
	if pos.Offset <= r.start && r.start > 0 || o.Sync == engine.SyncAlways {
		return replayed{}, errOld // the load reports gaps, and syncs once
	}
	e, err := engine.Open(s.directory(r.id), o)
	if err != nil {
		return replayed{}, fmt.Errorf("opening the directory: %w", err)
	}
	s.begin(m, r, pos.Offset)
	var stats engine.LoadStats
	var verdicts []dedup.Verdict
	var failed error
	oldest := time.Now().Add(-s.o.Engine.Window / 100)
	err = s.records(ctx, m, r, pos.Offset, func(at time.Time, keys [][]byte) bool {
		if at.Before(oldest) {
			failed = errOld
			return false
		}
		verdicts, failed = e.AdmitBatch(ctx, verdicts[:0], keys)
		stats.Batches++
		stats.Keys += uint64(len(keys))
		for _, v := range verdicts {
			if v == dedup.Fresh {
				stats.Marked++
			}
		}
		return failed == nil
	})
	if failed != nil {
		err = failed
	}
	if err != nil {
		return replayed{}, errors.Join(err, e.Close())
	}
	// These marks need not be durable yet, so the file goes on saying what it said.
	return replayed{e: e, position: r.position(pos.Offset, m.fewest), durable: pos, stats: stats}, nil
}

// begin has a memory's numbers begin with a load.
func (s *session) begin(m *memory, r reach, from int64) {
	m.fewest = int(s.partitions.Load())
	if r.end == 0 { // no record says how many there were: it may be one of those that were added
		m.fewest = min(m.fewest, s.had)
	}
	m.progress.begin(from, r.end)
}

// position is where a directory has come to that was read from an offset on.
func (r reach) position(from int64, partitions int) position {
	return position{Topic: r.topic, TopicID: r.topID, Offset: max(from, r.end), Partitions: partitions}
}

// records yields the marks of the log's records.
func (s *session) records(ctx context.Context, m *memory, r reach, from int64, yield func(time.Time, [][]byte) bool) error {
	var keys [][]byte
	told := time.Now()
	return span{r.topic, r.id, from, r.end}.read(ctx, s.o.Client, func(rec *kgo.Record) error {
		m.progress.at.Store(rec.Offset + 1)
		if rec.Attrs.IsControl() {
			return nil
		}
		at, got, err := marks.Decode(keys[:0], rec.Value)
		if err != nil {
			return fmt.Errorf("offset %d: %w", rec.Offset, err)
		}
		if at.After(time.Now().Add(-s.o.Engine.Window)) {
			if rec.Offset == r.start && r.start > 0 && from == r.start {
				s.gap(r.id, fmt.Sprintf("the log begins at %v, within the window", at))
			}
			if n := partitionsOf(rec); n > 0 {
				m.fewest = min(m.fewest, n)
			}
		}
		keys = got
		if time.Since(told) > tellEvery {
			told = time.Now()
			p := m.progress.stats()
			s.o.Logger.Info("partitioned: reading the log", "partition", r.id, "keys", p.Keys, "bytes", p.Bytes, "time_left", p.TimeLeft)
		}
		if !yield(at, got) {
			return errors.New("the load was cut short")
		}
		m.progress.keys.Add(uint64(len(got)))
		m.progress.bytes.Add(uint64(len(rec.Value)))
		s.loadedKeys.Add(uint64(len(got)))
		s.loadedBytes.Add(uint64(len(rec.Value)))
		return nil
	})
}

func (n *Node) gap(id int32, why string) {
	n.gaps.Add(1)
	n.o.Logger.Error("partitioned: marks within the window are missing, duplicates may pass", "partition", id, "why", why)
	if n.o.OnGap != nil {
		n.o.OnGap(id, why)
	}
}
