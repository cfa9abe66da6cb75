package engine

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/firstseen/firstseen/internal/vfs"
	"github.com/firstseen/firstseen/persist"
)

// toldFS tells of each sync of the journal.
type toldFS struct {
	vfs.FS
	out *childOutput
}

func (f toldFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil || filepath.Base(name) != persist.JournalName {
		return file, err
	}
	return toldFile{file, f.out}, nil
}

type toldFile struct {
	vfs.File
	out *childOutput
}

func (f toldFile) Sync() error {
	begin := time.Now().UnixNano()
	f.out.printf("s %d 0 .", begin)
	err := f.File.Sync()
	if err == nil {
		f.out.printf("s %d %d .", begin, time.Now().UnixNano())
	}
	return err
}

// phases tells of each phase and kills the child in the one that it was told: when
// it begins, a random while later, or before anybody hears of its end.
func (c childConfig) phases(out *childOutput) func(name string) (end func()) {
	rng := rand.New(rand.NewPCG(c.seed, 8))
	var wait atomic.Int64
	wait.Store(1 + rng.Int64N(2))
	when, delay := rng.IntN(4), time.Duration(rng.IntN(4000))*time.Microsecond
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		panic(err)
	}
	kill := func() { _ = self.Kill() }
	return func(name string) func() {
		out.printf("b %s", name)
		mine := name == c.killIn && wait.Add(-1) == 0
		switch {
		case mine && when == 0:
			kill()
		case mine && when > 1:
			time.AfterFunc(delay, kill)
		}
		return func() {
			if mine && when == 1 {
				kill()
			}
			out.printf("d %s", name)
		}
	}
}
