package engine

import (
	"os"
	"path/filepath"
	"strings"
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
	o := resultOptions(clock)
	e := mustOpen(t, dir, o)
	admitAll(t, e, intKeys(0, 300), dedup.Fresh)
	flushAll(t, e)
	admitAll(t, e, intKeys(300, 50), dedup.Fresh)
	for _, key := range intKeys(400, 5) {
		commitResult(t, e, key, "paid")
	}
	clock.advance(time.Hour)
	mustClose(t, e)
	damaged := disk + "/damaged"
	if err := os.CopyFS(damaged, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(damaged + "/seg-*/*.vlog")
	if err != nil || len(logs) == 0 {
		t.Fatal(logs, err)
	}
	flip(t, logs[0], 100)
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
	sound, err := inspect.Verify(ctx, dir, nil)
	if err != nil || len(sound.Damages) > 0 || sound.Keys != 300 || sound.Runs == 0 || sound.Results != 5 {
		t.Errorf("a sound copy on a read-only medium: %+v, %v", sound, err)
	}
	bad, err := inspect.Verify(ctx, damaged, nil)
	if err != nil || len(bad.Damages) == 0 || !strings.HasPrefix(bad.Damages[0].File, damaged+"/seg-") {
		t.Errorf("a damaged copy on a read-only medium: %+v, %v", bad, err)
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "firstseen-verify-*")); err != nil || len(left) > 0 {
		t.Errorf("copies were left: %v, %v", left, err)
	}
	if _, err := openWith(dir, o); err == nil {
		t.Error("an engine was opened on a read-only medium")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}
