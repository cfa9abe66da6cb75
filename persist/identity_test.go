package persist

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/vfs"
)

func testIdentity() Identity {
	id := Identity{Version: 1, Shards: 16, Approximate: true, Created: 1_700_000_000_000_000_000}
	for i := range id.Seed {
		id.Seed[i] = byte(i + 1)
	}
	return id
}

func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadIdentity(vfs.OS(), dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no identity: %v", err)
	}
	for _, id := range []Identity{testIdentity(), {Version: 1, Shards: 1, Untrusted: true}, {Version: 1, Shards: 256, Created: -1}} {
		if err := WriteIdentity(vfs.OS(), dir, id); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadIdentity(vfs.OS(), dir); err != nil || got != id {
			t.Errorf("read %+v, %v, want %+v", got, err, id)
		}
	}
	for _, shards := range []uint16{0, 3, 512} {
		if err := WriteIdentity(vfs.OS(), dir, Identity{Shards: shards}); err == nil {
			t.Errorf("%d shards written", shards)
		}
		id := testIdentity()
		id.Shards = shards
		if _, err := decodeIdentity(id.encode(), "a file"); !errors.Is(err, dedup.ErrCorrupt) {
			t.Errorf("%d shards read: %v", shards, err)
		}
	}
}

func TestIdentityGolden(t *testing.T) { golden(t, "identity-v1", testIdentity().encode()) }

func TestIdentityDamage(t *testing.T) {
	checkDamage(t, testIdentity().encode(), func(p []byte) error {
		_, err := decodeIdentity(p, "a file")
		return err
	})
}

func TestIdentityNewer(t *testing.T) {
	dir := t.TempDir()
	data := seal(identityMagic, identityVersion+1, []byte("whatever comes"))
	if err := os.WriteFile(filepath.Join(dir, IdentityName), data, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadIdentity(vfs.OS(), dir); !errors.Is(err, dedup.ErrIncompatible) {
		t.Error(err)
	}
}
