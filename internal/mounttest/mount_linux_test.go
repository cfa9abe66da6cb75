package mounttest

import (
	"os"
	"path/filepath"
	"testing"
)

// TestCutPower: what was synced is there after a cut, what was not is gone, and nothing can be
// written in between.
func TestCutPower(t *testing.T) {
	d, err := NewDisk(t, t.TempDir(), 32<<20)
	if err != nil {
		skip(t, err)
	}
	synced, lost := filepath.Join(d.Dir, "synced"), filepath.Join(d.Dir, "lost")
	f, err := os.Create(synced)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("safe"); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(lost, []byte("not safe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.CutPower(); err != nil {
		skip(t, err)
	}
	if err := os.WriteFile(filepath.Join(d.Dir, "late"), nil, 0o600); err == nil {
		t.Error("a file could be made after the cut")
	}
	f.Close()
	d.Remount()
	if got, err := os.ReadFile(synced); err != nil || string(got) != "safe" {
		t.Errorf("the synced file has %q, %v", got, err)
	}
	if got, err := os.ReadFile(lost); err == nil && len(got) > 0 {
		t.Errorf("the file that was not synced has %q", got)
	}
	d.Unmount()
}

func skip(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("FIRSTSEEN_REQUIRE_SERVERS") != "" {
		t.Fatalf("can't run: %v", err)
	}
	t.Skipf("!!! SKIPPED: %v", err)
}
