package engine

import (
	"encoding/binary"
	"io/fs"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/vfs"
)

// syncCount counts what waits for the disk.
type syncCount struct {
	vfs.FS
	n *atomic.Int64
}

func (c syncCount) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := c.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return fileSyncCount{f, c.n}, nil
}

func (c syncCount) SyncDir(name string) error {
	c.n.Add(1)
	return c.FS.SyncDir(name)
}

type fileSyncCount struct {
	vfs.File
	n *atomic.Int64
}

func (f fileSyncCount) Sync() error {
	f.n.Add(1)
	return f.File.Sync()
}

// TestTemporary: a temporary directory answers like others and syncs none of its
// files, over flushes and the close. That Badger's are not synced either is shown by
// the command's test.
func TestTemporary(t *testing.T) {
	for _, temporary := range []bool{false, true} {
		var n atomic.Int64
		e, err := openWith(t.TempDir(), config{
			Options: Options{Window: time.Hour, Capacity: 10_000, MinFreeDisk: -1, Temporary: temporary},
			hooks:   hooks{tableKeys: 200, ringBytes: 128 << 10, fs: syncCount{vfs.OS(), &n}},
		})
		if err != nil {
			t.Fatal(err)
		}
		for round := range 2 {
			for from := 0; from < 20_000; from += 500 {
				keys := make([][]byte, 500)
				for i := range keys {
					keys[i] = binary.BigEndian.AppendUint64(nil, uint64(from+i))
				}
				vs, err := e.AdmitBatch(t.Context(), nil, keys)
				if err != nil {
					t.Fatal(err)
				}
				for i, v := range vs {
					if want := []dedup.Verdict{dedup.Fresh, dedup.Duplicate}[round]; v != want {
						t.Fatalf("key %d in round %d is %v", from+i, round, v)
					}
				}
			}
		}
		flushes := e.Stats().Flush.Flushes
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if flushes == 0 || (n.Load() == 0) != temporary {
			t.Fatalf("temporary %v: %d flushes, %d syncs", temporary, flushes, n.Load())
		}
	}
}
