package journal

import (
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/crc32c"
)

// Append gives the frame its position, which is its End - FrameSpace(len(Payload)),
// and returns its End. The room must have been reserved. Append only copies the frame:
// into the buffer of the next batch or, where the frame comes alone and the ring's pages
// are mapped, into the ring. Wait makes it last.
//
// The caller holds the lock of the frame's shard, and all shards share mu. So the payload's
// checksum is computed before mu is taken, and mu is held for a copy. Frames get their
// positions in the order in which they get mu.
//
// It is an error wrapping dedup.ErrFailed after a failure, dedup.ErrClosed after
// Close. A frame without reserved room, above a quarter of the ring, of kind 0 or
// 255 or of a generation above 32 bits is a programmer's misuse and an error.
func (j *Journal) Append(f *Frame) (Pos, error) {
	if err := f.check(j.largest); err != nil {
		return 0, err
	}
	h := frameHeader{
		kind: f.Kind, form: f.Form, shard: f.Shard,
		length: uint32(len(f.Payload)), count: f.Count,
		time: f.Time, generation: uint32(f.Generation),
		sum: crc32c.Sum(f.Payload),
	}
	space := h.space()
	j.mu.Lock()
	if err := j.usableLocked(); err != nil {
		j.mu.Unlock()
		return 0, err
	}
	if j.mu.room.reserved < space {
		j.mu.Unlock()
		return 0, fmt.Errorf("journal: appending %d bytes, %d are reserved", space, j.mu.room.reserved)
	}
	j.mu.room.reserved -= space
	if space > j.lapEndLocked()-(j.mu.end-j.mu.lap) {
		j.padLocked()
	}
	h.pos, h.epoch = j.mu.end, j.mu.epoch
	h.lag = lagOf(h.pos, j.durable.Load())
	end := h.pos + space
	j.mu.end = end
	// Into the ring only where nothing is pending in front of it: written tells of a prefix of
	// the log, so it could not be raised over frames that are still in the buffer.
	if b := &j.mu.pending; f.Alone && len(b.data) == 0 && j.canCopyLocked(int(space)) {
		off := h.pos - j.mu.lap
		h.append(j.ring[off:off:off+space], f.Payload, j.salt)
		j.copied(int(space), end, off+space)
		j.copiedLocked(int(space))
	} else {
		b.data = h.append(b.data, f.Payload, j.salt)
	}
	j.mu.Unlock()
	f.End = end
	return end, nil
}

// append adds the frame's bytes to data. The header is built in place. In a buffer of its
// own it would escape to the heap, because the compiler can't see into the checksum's
// assembly.
func (h *frameHeader) append(data, payload []byte, salt uint32) []byte {
	at, space := len(data), FrameSpace(len(payload))
	data = slices.Grow(data, space)[:at+space]
	h.put(data[at:], salt)
	n := at + frameHeaderLen + copy(data[at+frameHeaderLen:], payload)
	clear(data[n:])
	return data
}

// lagOf is a frame's lag in units of frameAlign. durable is read under mu and may be old by
// then, which claims less.
func lagOf(pos, durable Pos) uint32 {
	return uint32(min((pos-durable)/frameAlign, lagUnknown))
}

// lapEndLocked is the offset at which a lap ends. In a ring that can still grow the next
// lap may end elsewhere, so a replay can't compute it: a pad has to say it. That is why
// room for a pad's header is always left there.
func (j *Journal) lapEndLocked() uint64 {
	if j.mu.allocated < j.size {
		return j.mu.allocated - frameHeaderLen
	}
	return j.size
}

// padLocked leaves the rest of the lap empty, behind a pad frame if its header still fits.
// So no frame crosses the ring's end: Append into the mapping and ringReader rely on that.
// Nobody has reserved the pad's bytes; they are the slack's (see room).
func (j *Journal) padLocked() {
	rest := j.size - (j.mu.end - j.mu.lap)
	if rest >= frameHeaderLen {
		h := frameHeader{
			kind: kindPad, epoch: j.mu.epoch, pos: j.mu.end,
			length: uint32(rest - frameHeaderLen), lag: lagOf(j.mu.end, j.durable.Load()),
		}
		j.mu.pending.data = h.append(j.mu.pending.data, nil, j.salt)
	}
	j.mu.pending.wrap = len(j.mu.pending.data)
	j.mu.end += rest
	j.mu.lap, j.mu.hole = j.mu.end, j.size-j.mu.allocated
}

// Wait returns nil once the frames below pos, a position that Append returned,
// are as safe as the mode says: SyncAlways on disk, otherwise with the operating
// system. After an error it is not known whether the frames are safe. pos may be the end of
// another call's frame, which a duplicate rests on: then there may be nothing to write but a
// sync to wait for.
//
// This is group commit. Whoever finds nobody writing becomes the leader and writes for all.
// Nobody waits on purpose: the next batch gathers while the one before it is written.
//
//  1. A leads batch 7. B appends a frame behind batchEnd, so it is in batch 8. B finds
//     writing set, raises awaitedNo to 8 and waits in batchDone[0].
//  2. A has finished batch 7. It sees awaitedNo and takes batch 8 itself: B, once woken,
//     would queue for a processor behind everybody whose answer has come.
//  3. A wakes those who wait for batch 7 after the write of batch 8, not before: the disk
//     gets its next work first.
//  4. Nobody waits for batch 9, or A has led maxLedBatches. A wakes those of batch 8, and
//     one caller that waits for batch 9, who finds writing cleared and leads.
func (j *Journal) Wait(pos Pos) error {
	for {
		// After a failure nobody gets nil, not even for what was safe before (I7).
		if j.failed.Load() == nil && j.reached(pos) {
			return nil
		}
		j.mu.Lock()
		if j.mu.writing && j.failed.Load() == nil && !j.reached(pos) {
			no := j.batchNoLocked(pos)
			j.mu.awaitedNo = max(j.mu.awaitedNo, no)
			j.batchDone[no%2].Wait() // lets go of mu, for good
			continue
		}
		err := j.canLeadLocked(pos)
		if err == nil && !j.reached(pos) && !j.copyToRingLocked() { // and nobody leads
			j.leadLocked()
		}
		j.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// batchNoLocked is the batch that the frames below pos are in: the one under way or the
// one after it.
func (j *Journal) batchNoLocked(pos Pos) uint64 {
	if pos <= j.mu.batchEnd {
		return j.mu.batchNo
	}
	return j.mu.batchNo + 1
}

func (j *Journal) canLeadLocked(pos Pos) error {
	switch f := j.failed.Load(); {
	case f != nil:
		return f.err
	case pos > j.mu.end:
		return fmt.Errorf("journal: waiting for position %d, the journal ends at %d", pos, j.mu.end)
	case j.mu.stage != stageReady && j.mu.stage != stageClosing:
		return dedup.ErrClosed
	}
	return nil
}

// waker is the lock of a sync.Cond whose Wait lets go of the journal's lock and does
// not take it again. Callers that are woken together would hand the lock from one to the
// next, each only once its thread runs. They do not need it: an atomic tells that they are
// done.
type waker struct{ mu *sync.Mutex }

func (w waker) Unlock() { w.mu.Unlock() }
func (w waker) Lock()   {}

func (j *Journal) reached(pos Pos) bool {
	if j.cfg.Sync == SyncAlways {
		return j.durable.Load() >= pos
	}
	return j.written.Load() >= pos
}

// copyToRingLocked does what leadLocked does, with mu held, for a small batch that nobody
// else waits for and whose pages are mapped: it is a few stores, and letting go of mu would
// take longer. It reports whether it did.
func (j *Journal) copyToRingLocked() bool {
	b := &j.mu.pending
	if !j.canCopyLocked(len(b.data)) {
		return false
	}
	j.copyToRing(b)
	j.copiedLocked(len(b.data))
	return true
}

// canCopyLocked reports whether the last bytes of the log may be copied into the ring with
// mu held. Every page must be mapped, or the store would be a page fault under mu. A sync
// unmaps them, and where syncs are rare the kernel may write pages back by itself, which
// makes a store wait just as well.
//
// No leader may be at work: its batch lies before these bytes, and written tells of a prefix.
// Nor may anybody wait for the next batch (awaitedNo):
//
//  1. A leader has led maxLedBatches. X and Y wait for the next batch, and X is woken to lead.
//  2. Before X runs, Z copies that batch into the ring and raises written.
//  3. X finds its position reached and returns. It has led nothing, so nobody wakes Y.
func (j *Journal) canCopyLocked(bytes int) bool {
	return !j.mu.writing && j.mu.awaitedNo <= j.mu.batchNo && bytes <= smallBatch &&
		j.mu.end <= j.pages.ready.Load() && !j.mu.syncing && j.cfg.syncsOften()
}

// copiedLocked notes that the last bytes of the log have been copied into the ring, so that
// all of it is there.
func (j *Journal) copiedLocked(bytes int) {
	j.mu.bytes += uint64(bytes)
	j.raise(j.mu.end, 0)
	j.mu.pending.reset(j.mu.end)
	j.advanceLocked()
}

// maxLedBatches is how many batches one caller writes in a row while others wait. A waiter
// that is woken to lead the next batch queues for a processor behind those who just got
// their answers, so disk and processors would work in turn. With 64 goroutines and one key
// per call leading on makes 170 k calls/s instead of 130 k (docs/decisions/001).
const maxLedBatches = 4

// leadLocked writes all that is pending, and syncs it in SyncAlways. It lets go of mu
// around the I/O (I8); meanwhile writing keeps others from leading too. Two syncs at
// once would gain nothing: 2,000 of 16 KiB take the disk the same time either way.
func (j *Journal) leadLocked() {
	j.mu.writing = true
	for n := 1; ; n++ {
		b, end := j.mu.pending, j.mu.end
		j.mu.pending, j.mu.spare = j.mu.spare, batch{}
		j.mu.pending.reset(end)
		j.mu.batchNo++
		j.mu.batchEnd = end
		no := j.mu.batchNo
		j.mu.Unlock()

		// With small batches everybody waits for the disk and nobody for a processor:
		// yielding there would cost a tenth of the calls (docs/decisions/001).
		yields := j.cfg.Sync == SyncAlways && len(b.data) > smallBatch
		if yields && n == 1 {
			giveWay()
		}
		pwrites, err := j.write(&b)
		if n > 1 {
			// Only now: the disk has its next work first. Batch no+1 shares the condition;
			// whoever waits for that one sees a leader at work and waits on.
			j.batchDone[(no-1)%2].Broadcast()
			if yields {
				giveWay()
			}
		}
		syncs := j.finishBatch(end, err)

		j.mu.Lock()
		j.mu.writes += pwrites
		j.mu.bytes += uint64(len(b.data))
		j.mu.syncs += syncs
		j.mu.spare = b
		j.advanceLocked()
		j.changed.Broadcast()
		if j.mu.awaitedNo <= no || n == maxLedBatches || j.failed.Load() != nil {
			break
		}
	}
	j.stopLeadingLocked()
}

// giveWay yields before a sync. Callers that were just woken stand in this processor's run
// queue. Without the yield they stand there until the sync is done, or until the runtime
// notices after up to 10 ms that it takes long; a processor that has enough of its own to
// run steals nobody. With 16 callers and SyncAlways the 99.9th percentile went from 27 ms
// to 19 ms (docs/decisions/001).
func giveWay() { runtime.Gosched() }

// stopLeadingLocked wakes everybody whose batch is done and one waiter of the next batch,
// to lead it.
func (j *Journal) stopLeadingLocked() {
	j.mu.writing = false
	if j.failed.Load() != nil {
		j.wakeAllLocked()
		return
	}
	j.batchDone[j.mu.batchNo%2].Broadcast()
	j.batchDone[(j.mu.batchNo+1)%2].Signal() // to lead
}

// finishBatch makes a batch up to end, whose write returned err, as safe as the mode says.
// It returns the number of syncs. The leader calls it without mu, which fail takes.
func (j *Journal) finishBatch(end Pos, err error) (syncs uint64) {
	doing, durable := "writing", Pos(0)
	if err == nil && j.cfg.Sync == SyncAlways {
		doing, syncs, durable = "syncing", 1, end
		err = j.file.Sync()
	}
	if err != nil {
		j.fail(doing, err)
		return syncs
	}
	j.raise(end, durable)
	return syncs
}

// raise raises written and durable. The watermark comes first: a caller may have its answer
// the moment that the atomics are stored, and a crash after that must find the watermark
// (I5). No two callers raise the same position at once: who raises written leads or holds
// mu; who raises durable leads (SyncAlways) or has set syncing (the other modes).
func (j *Journal) raise(written, durable Pos) {
	if j.mark != nil {
		j.mark.note(j.head.epoch, durable, written)
	}
	if written > j.written.Load() {
		j.written.Store(written)
		j.readAhead.wrote(written)
	}
	if durable > j.durable.Load() {
		j.durable.Store(durable)
	}
}
