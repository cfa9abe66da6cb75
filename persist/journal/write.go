package journal

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/crc32c"
)

// Append gives the frame its position, which is its End - FrameSpace(len(Payload)),
// and returns its End. The room must have been reserved. The frame is copied to
// memory only, to the mapped ring at once where it comes alone and pages are ready; Wait
// makes it last.
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
	if b := &j.mu.pending; f.Alone && len(b.data) == 0 && j.storableLocked(int(space)) {
		off := h.pos - j.mu.lap
		h.append(j.ring[off:off:off+space], f.Payload, j.salt)
		j.stored(int(space), end, off+space)
		j.storedLocked(int(space))
	} else {
		b.data = h.append(b.data, f.Payload, j.salt)
	}
	j.mu.Unlock()
	f.End = end
	return end, nil
}

// append adds the frame's bytes to data. The header is built in its place: a
// buffer of its own would move to the heap, as the checksum's assembly hides
// what becomes of it.
func (h *frameHeader) append(data, payload []byte, salt uint32) []byte {
	at, space := len(data), FrameSpace(len(payload))
	data = slices.Grow(data, space)[:at+space]
	h.put(data[at:], salt)
	n := at + frameHeaderLen + copy(data[at+frameHeaderLen:], payload)
	clear(data[n:])
	return data
}

func lagOf(pos, durable Pos) uint32 {
	return uint32(min((pos-durable)/frameAlign, lagUnknown))
}

// lapEndLocked is the offset at which a lap ends. In a ring that can be grown a pad
// tells that it did, since it need not end there another time: so its header always fits.
func (j *Journal) lapEndLocked() uint64 {
	if j.mu.there < j.size {
		return j.mu.there - frameHeaderLen
	}
	return j.size
}

// padLocked leaves the rest of the lap empty: behind a pad frame, or behind
// nothing where no header fits.
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
	j.mu.lap, j.mu.hole = j.mu.end, j.size-j.mu.there
}

// Wait returns nil once the frames below pos, a position that Append returned,
// are as safe as the mode says: SyncAlways on disk, otherwise with the operating
// system. Whoever finds nobody writing writes for all: the sync under way is the
// time in which the next batch gathers, nobody waits on purpose.
//
// After an error it is not known whether the frames are safe.
func (j *Journal) Wait(pos Pos) error {
	for {
		if j.failed.Load() == nil && j.reached(pos) {
			return nil
		}
		j.mu.Lock()
		if j.mu.busy && j.failed.Load() == nil && !j.reached(pos) {
			turn := j.turnLocked(pos)
			j.mu.awaited = max(j.mu.awaited, turn)
			j.turns[turn%2].Wait() // lets go of mu, for good
			continue
		}
		err := j.canLeadLocked(pos)
		if err == nil && !j.reached(pos) && !j.storeLocked() { // and nobody leads
			j.leadLocked()
		}
		j.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// turnLocked is the batch that the frames below pos are in: the one under way or the
// one after it.
func (j *Journal) turnLocked(pos Pos) uint64 {
	if pos <= j.mu.leading {
		return j.mu.turn
	}
	return j.mu.turn + 1
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
// not take it again: those who are woken together would pass it from one to the next,
// each as soon as its thread runs.
type waker struct{ mu *sync.Mutex }

func (w waker) Unlock() { w.mu.Unlock() }
func (w waker) Lock()   {}

func (j *Journal) reached(pos Pos) bool {
	if j.cfg.Sync == SyncAlways {
		return j.durable.Load() >= pos
	}
	return j.written.Load() >= pos
}

// storeLocked does what leadLocked does for a small batch that nobody else waits for,
// where the ring's pages are mapped for it: that is a few stores, and to let go of mu
// for them would take longer. It reports whether it did.
func (j *Journal) storeLocked() bool {
	b := &j.mu.pending
	if !j.storableLocked(len(b.data)) {
		return false
	}
	j.store(b)
	j.storedLocked(len(b.data))
	return true
}

// storableLocked reports whether storeLocked may be done for that many bytes, the last
// ones of the log. A sync takes the pages away; where syncs are rare the kernel may have
// done so by itself, and a store would wait.
func (j *Journal) storableLocked(bytes int) bool {
	return !j.mu.busy && j.mu.awaited <= j.mu.turn && bytes <= smallBatch &&
		j.mu.end <= j.pages.ready.Load() && !j.mu.syncing && j.cfg.syncsOften()
}

// storedLocked notes that all of the log is in the ring, the last bytes newly so.
func (j *Journal) storedLocked(bytes int) {
	j.mu.bytes += uint64(bytes)
	j.raise(j.mu.end, 0)
	j.mu.pending.reset(j.mu.end)
	j.advanceLocked()
}

// leadTurns is how many batches one caller writes while others wait for the next one.
// Whoever would be woken to lead it comes behind those who have their answers and go
// on to work: then the disk waits for the processors, and they for the disk.
const leadTurns = 4

// leadLocked writes out all that is pending, and syncs it in SyncAlways. It lets
// go of mu meanwhile (I8); busy keeps others from doing the same. Two syncs at
// once bring nothing: 2,000 of 16 KiB take the disk the same time either way.
func (j *Journal) leadLocked() {
	j.mu.busy = true
	for n := 1; ; n++ {
		b, end := j.mu.pending, j.mu.end
		j.mu.pending, j.mu.spare = j.mu.spare, batch{}
		j.mu.pending.reset(end)
		j.mu.turn++
		j.mu.leading = end
		turn := j.mu.turn
		j.mu.Unlock()

		// Small batches are where all wait for the disk, and nobody for a processor.
		yields := j.cfg.Sync == SyncAlways && len(b.data) > smallBatch
		if yields && n == 1 {
			giveWay()
		}
		pwrites, err := j.write(&b)
		if n > 1 {
			j.turns[(turn-1)%2].Broadcast() // only now: the disk has its next work first
			if yields {
				giveWay()
			}
		}
		syncs := j.settle(end, err)

		j.mu.Lock()
		j.mu.writes += pwrites
		j.mu.bytes += uint64(len(b.data))
		j.mu.syncs += syncs
		j.mu.spare = b
		j.advanceLocked()
		j.moved.Broadcast()
		if j.mu.awaited <= turn || n == leadTurns || j.failed.Load() != nil {
			break
		}
	}
	j.leaveLocked()
}

// giveWay is called before a sync. Whoever was just woken stands in this processor's
// queue, and would stand there until the sync is done, or until the runtime sees after
// up to 10 ms that it takes long: another processor that always has somebody of its own
// to run takes nobody over.
func giveWay() { runtime.Gosched() }

// leaveLocked ends the leading.
func (j *Journal) leaveLocked() {
	j.mu.busy = false
	if j.failed.Load() != nil {
		j.wakeAllLocked()
		return
	}
	j.turns[j.mu.turn%2].Broadcast()
	j.turns[(j.mu.turn+1)%2].Signal() // to lead
}

// settle makes a batch that ends there, and was written with err, as safe as the
// mode says, and returns the number of syncs.
func (j *Journal) settle(end Pos, err error) (syncs uint64) {
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

// raise raises written and durable, the watermark first, so that it is there when
// somebody has an answer that rests on them. Each is raised by one at a time.
func (j *Journal) raise(written, durable Pos) {
	if j.mark != nil {
		j.mark.note(j.head.epoch, durable, written)
	}
	if written > j.written.Load() {
		j.written.Store(written)
		j.near.reached(written)
	}
	if durable > j.durable.Load() {
		j.durable.Store(durable)
	}
}

// Sync returns nil once everything appended so far is on disk, whatever the mode.
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
			j.moved.Wait()
			continue
		}
		if j.mu.stage == stageClosed {
			return dedup.ErrClosed
		}
		j.syncLocked()
	}
	return nil
}

// syncLocked syncs what was written in the modes in which no leader does. It
// lets go of mu meanwhile; writes go on.
func (j *Journal) syncLocked() {
	j.mu.syncing = true
	j.mu.Unlock()
	upTo := j.written.Load() // before the sync: it covers no later write
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
	j.moved.Broadcast()
}

// syncEvery is the goroutine of SyncInterval. A failure shows in the next call.
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

// State is a moment's view of the journal.
type State struct {
	RingBytes int64  // the ring's size
	MaxRing   int64  // what it can be grown to
	Used      int64  // of it taken by live frames and reservations
	Tail      Pos    // frames below it will not be replayed
	End       Pos    // of the last frame appended
	Written   Pos    // frames below it are with the operating system
	Durable   Pos    // frames below it are on disk
	Unsynced  int64  // bytes appended that are not on disk yet
	Bytes     uint64 // bytes handed to the operating system since opening
	Writes    uint64 // write calls since opening; small batches need none
	Syncs     uint64 // syncs since opening
	RoomWaits uint64 // reservations that had to wait since opening
	Failed    bool   // a write or a sync failed (I7)
}

// State returns the journal's state. It does not wait for I/O.
func (j *Journal) State() State {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := State{
		RingBytes: int64(j.mu.there), MaxRing: int64(j.size), Used: int64(j.usedLocked()),
		Tail: j.mu.room.tail, End: j.mu.end, Written: j.written.Load(), Durable: j.durable.Load(),
		Bytes: j.mu.bytes, Writes: j.mu.writes, Syncs: j.mu.syncs, RoomWaits: j.mu.room.waits,
		Failed: j.failed.Load() != nil,
	}
	s.Unsynced = int64(s.End - min(s.Durable, s.End))
	return s
}
