package engine

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine/inspect"
)

// TestReadOnlyMedium: a copy on a medium that can't be written can be looked at, and one
// that an engine would have to write to is refused.
func TestReadOnlyMedium(t *testing.T) {
	disk := smallDisk(t)
	clock, dir := newFakeClock(), disk+"/seen"
	o := testOptions(clock)
	e := mustOpen(t, dir, o)
	admitAll(t, e, intKeys(0, 300), dedup.Fresh)
	flushAll(t, e)
	admitAll(t, e, intKeys(300, 50), dedup.Fresh)
	clock.advance(time.Hour)
	mustClose(t, e)
	want, err := inspect.Inspect(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		faultSkip(t, "remounting: %v", err)
	}
	got, err := inspect.Inspect(ctx, dir)
	if err != nil || got.Keys != want.Keys || got.JournalKeys != want.JournalKeys || got.Clean != want.Clean {
		t.Errorf("on a read-only medium it is %+v, %v, want %+v", got, err, want)
	}
	if v, err := inspect.Verify(ctx, dir, nil); err == nil || errors.Is(err, dedup.ErrCorrupt) || len(v.Damages) > 0 {
		t.Errorf("verify, for which Badger must write, takes that for damage: %+v, %v", v.Damages, err)
	}
	if _, err := openWith(dir, o); err == nil {
		t.Error("an engine was opened on a read-only medium")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}
