package journal

import (
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// Sync returns nil once everything appended so far is on disk, whatever the mode. A flush
// calls it before a manifest says up to where its runs cover the log. If a power loss could
// take frames below that position, new ones would be written there, and the next replay would
// skip them.
func (j *Journal) Sync() error {
	j.mu.Lock()
	err := j.usableLocked()
	j.mu.Unlock()
	if err != nil {
		return err
	}
	return j.syncAll()
}

// syncAll is Sync for a journal that may be closing.
func (j *Journal) syncAll() error {
	j.mu.Lock()
	end := j.mu.end
	j.mu.Unlock()
	if err := j.Wait(end); err != nil {
		return err
	}
	giveWay()
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.durable.Load() < end {
		if f := j.failed.Load(); f != nil {
			return f.err
		}
		if j.mu.syncing {
			j.changed.Wait()
			continue
		}
		if j.mu.stage == stageClosed {
			return dedup.ErrClosed
		}
		j.syncLocked()
	}
	return nil
}

// syncLocked syncs what was written, in the modes in which leaders do not sync. It lets
// go of mu meanwhile, and writes go on.
//
//  1. syncing is set under mu. From here on nobody copies into the ring with mu held, so
//     nobody has a page fault there when the pages go.
//  2. written is read before the sync, which need not cover what is written later.
//  3. The pages up to there are unmapped, then synced. A leader's copy maps its page again.
//  4. durable is raised. Only then, under mu, is syncing taken back and changed broadcast:
//     whoever waits for the sync finds durable raised.
func (j *Journal) syncLocked() {
	j.mu.syncing = true
	j.mu.Unlock()
	upTo := j.written.Load()
	j.unmapWritten(upTo)
	err := j.file.Sync()
	j.pages.syncing.Store(false)
	if err != nil {
		j.fail("syncing", err)
	} else {
		j.raise(upTo, upTo)
	}
	j.mu.Lock()
	j.mu.syncs++
	j.mu.syncing = false
	j.changed.Broadcast()
}

// syncEvery is the goroutine of SyncInterval. It ends after a failure, which the next call
// reports.
func (j *Journal) syncEvery(interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-j.stop:
			return
		case <-tick.C:
			if j.syncAll() != nil {
				return
			}
		}
	}
}
