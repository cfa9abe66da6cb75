package journal_test

import (
	"context"
	"errors"
	"testing"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/faultfs"
	"github.com/firstseen/firstseen/persist/journal"
	"go.uber.org/goleak"
)

// fullJournal has a ring of 4 KiB with n frames of 512 bytes, of which it returns
// the ends. After the seventh there is only the room that is kept for a pad.
func fullJournal(t *testing.T, n int) (*journal.Journal, []journal.Pos) {
	t.Helper()
	j := openJournal(t, journal.Config{FS: faultfs.New(), Path: "journal", RingBytes: 4096, Sync: journal.SyncNone})
	mustReplay(t, j, 0)
	var ends []journal.Pos
	for range n {
		f := journal.Frame{Kind: 1, Payload: make([]byte, 512-journal.FrameHeaderLen)}
		if err := appendWait(j, &f); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, f.End)
	}
	return j, ends
}

// reserve starts a Reserve and returns once it waits for room.
func reserve(t *testing.T, ctx context.Context, j *journal.Journal, bytes int) <-chan error {
	t.Helper()
	before := j.State().RoomWaits
	done := make(chan error, 1)
	go func() { done <- j.Reserve(ctx, bytes) }()
	for j.State().RoomWaits == before {
		select {
		case err := <-done:
			t.Fatal("Reserve did not wait:", err)
		default:
		}
	}
	return done
}

func waits(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		t.Fatal("Reserve returned too early:", err)
	default:
	}
}

func TestReserveWaitsForRelease(t *testing.T) {
	defer goleak.VerifyNone(t)
	j, ends := fullJournal(t, 5)
	first := reserve(t, context.Background(), j, 1024)
	second := reserve(t, context.Background(), j, 64)
	waits(t, first)
	waits(t, second) // though it would fit: room is given in order
	j.Release(ends[0])
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	waits(t, second)
	j.Release(ends[0] - 8) // nothing new
	waits(t, second)
	j.Unreserve(1024)
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	j.Unreserve(64)
	j.Release(1 << 40) // not past the end
	if s := j.State(); s.Used != 0 || s.Tail != s.End {
		t.Fatalf("%+v", s)
	}
}

func TestReserveContext(t *testing.T) {
	defer goleak.VerifyNone(t)
	j, ends := fullJournal(t, 7)
	ctx, cancel := context.WithCancel(context.Background())
	first := reserve(t, ctx, j, 2048)
	second := reserve(t, context.Background(), j, 512)
	j.Release(ends[0])
	waits(t, first)
	waits(t, second)
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	waits(t, second) // the slack for the largest reservation stays: 3072+512+1024 > 4096
	j.Release(ends[1])
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	if s := j.State(); s.Used != int64(ends[6]-ends[1])+512 {
		t.Fatalf("%+v", s)
	}
}

func TestReserveCloseAndFailure(t *testing.T) {
	defer goleak.VerifyNone(t)
	j, _ := fullJournal(t, 7)
	done := reserve(t, context.Background(), j, 512)
	if err := j.Close(true); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, dedup.ErrClosed) {
		t.Fatal(err)
	}

	f := faultfs.New()
	j = openJournal(t, journal.Config{FS: f, Path: "journal", RingBytes: 4096})
	mustReplay(t, j, 0)
	if err := j.Reserve(context.Background(), 2048); err != nil {
		t.Fatal(err)
	}
	done = reserve(t, context.Background(), j, 2048)
	fr := journal.Frame{Kind: 1}
	if _, err := j.Append(&fr); err != nil {
		t.Fatal(err)
	}
	f.FailAt(1, errBoom, false)
	if err := j.Wait(fr.End); !errors.Is(err, dedup.ErrFailed) {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, dedup.ErrFailed) || !errors.Is(err, errBoom) {
		t.Fatal(err)
	}
	if err := j.Close(true); !errors.Is(err, dedup.ErrFailed) {
		t.Fatal(err)
	}
}

// TestReleaseAheadOfWrite: what was released is not overwritten while it still
// waits to be written, or the batch would pass the ring's end twice.
func TestReleaseAheadOfWrite(t *testing.T) {
	j := openJournal(t, journal.Config{FS: faultfs.New(), Path: "journal", RingBytes: 4096, Sync: journal.SyncNone})
	mustReplay(t, j, 0)
	f := journal.Frame{Kind: 1, Payload: make([]byte, 512-journal.FrameHeaderLen)}
	for range 7 {
		if err := appendFrame(j, &f); err != nil {
			t.Fatal(err)
		}
	}
	j.Release(f.End)
	done := reserve(t, context.Background(), j, 512)
	if err := j.Wait(f.End); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
