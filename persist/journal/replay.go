package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/crc32c"
	"github.com/firstseen/firstseen/internal/vfs"
)

// Replayed says what Replay found.
type Replayed struct {
	End     Pos   // where the next frame goes
	Frames  int64 // frames given to apply
	Bytes   int64 // bytes of the log that were read, pads included
	Dropped int64 // bytes of an unfinished write behind End, as far as that can be known
	Clean   bool  // the journal was closed cleanly, or is new
	// PowerLoss: the machine was restarted since a run that was not closed cleanly, or
	// the boot id does not tell whether it was.
	PowerLoss bool
	// MayHaveLost is how much the mode of that run let the power loss take: 0 is nothing,
	// -1 any number of the newest frames. Only the end is lost: a frame that a Wait had
	// returned for before the last frame found here was appended is found here too.
	MayHaveLost time.Duration

	hole uint64 // see Journal.mu
}

// Replay gives the frames from a position on to apply, in their order, and makes
// the journal ready for Append. The position is Config.Start of a new
// journal, or the End of a frame, at least what was given to Release. An error of
// apply ends it and is returned.
//
// The first frame that is torn ends the log, unless something proves that more was there.
// Then it is damage, and the error is a *dedup.CorruptError (I5). Proofs are the header's
// clean end, the place where the epoch began, the watermark, any later frame that says that
// this one was durable when it was appended, and Config.NotBefore.
//
// Frames behind a torn one stay dead. The next frame overwrites the torn one, and after
// another crash those behind it could pass for its successors. So each Replay begins a new
// epoch, and behind its beginning only frames of that epoch count.
func (j *Journal) Replay(from Pos, apply func(f *Frame) error) (Replayed, error) {
	if err := j.leaveOpened(); err != nil {
		return Replayed{}, err
	}
	out, err := j.read(from, apply)
	if err != nil {
		return out, err
	}
	if err := j.begin(from, out.End, out.hole); err != nil {
		return out, err
	}
	return out, nil
}

// proven is the position below which every frame must be there: a torn frame below it is
// damage and not a crash's unfinished write.
func (j *Journal) proven() Pos {
	// The note counts in any epoch: what was synced stays. An older note says less, and a note
	// of another journal has another salt.
	p := max(j.head.start, j.head.epochStart, j.note.durable)
	if j.head.clean {
		p = max(p, j.head.cleanEnd)
	}
	// What the operating system had is still there only if it still runs, and
	// only in the epoch that the header tells of: the boot id is the header's.
	if j.note.epoch == j.head.epoch && j.boot == j.head.boot && j.boot != [16]byte{} {
		p = max(p, j.note.written)
	}
	return p
}

// begin opens the next epoch at end and makes the journal ready. The order matters:
//
//  1. The frames that were read are synced. After a kill only the operating system may have
//     them, and 2 promises them. So are the zeroes of a growth that was interrupted: the
//     header promises the file's length too.
//  2. The header says where the new epoch begins. From here on what lay behind end is dead,
//     even if this process is killed before it appends a frame. It has this run's boot id and
//     mode, by which the next opening tells what a power loss could take.
//  3. The watermark follows. Its first note may overwrite the best one, in whose place the
//     header now stands.
//  4. Appends are let in, and the goroutines start.
func (j *Journal) begin(from, end Pos, hole uint64) error {
	err := j.file.Sync()
	if err == nil {
		j.head.epoch++
		j.head.epochStart, j.head.clean, j.head.cleanEnd = end, false, 0
		j.head.boot, j.head.allocated = j.boot, j.allocatedAtOpen
		j.head.putRisk(j.cfg.atRisk())
		j.head.sequence++
		err = writeJournalHeader(j.file, &j.head)
	}
	if err != nil {
		j.fail("beginning an epoch", err)
		return j.failed.Load().err
	}
	j.raise(end, end)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.mu.epoch, j.mu.end, j.mu.lap = j.head.epoch, end, end-end%j.size
	j.mu.hole = hole
	j.mu.room.tail, j.mu.room.released = from, from
	j.mu.pending.reset(end)
	j.mu.spare.reset(end)
	j.mu.stage = stageReady
	j.stop = make(chan struct{})
	if j.cfg.Sync == SyncInterval {
		j.running.Go(func() { j.syncEvery(j.cfg.Interval) })
	}
	// Only where the mapping is the kernel's: a test's file system may map plain memory,
	// which unmapping would empty.
	if vfs.IsOS(j.file) && j.ring != nil {
		j.readAhead.wanted = make(chan struct{}, 1)
		j.running.Go(func() { j.whenAsked(j.readAhead.wanted, j.readRingAhead) })
		if j.cfg.Sync != SyncAlways {
			j.pages.wanted = make(chan struct{}, 1)
			j.running.Go(func() { j.whenAsked(j.pages.wanted, j.mapAhead) })
		}
	}
	return nil
}

// replayer reads the log frame by frame, for one Replay or Scan.
type replayer struct {
	j      *Journal
	from   Pos    // where the log's reading began
	proven Pos    // frames below it must be there
	epoch  uint32 // of the last frame: epochs never fall along the log
	read   ringReader
	out    Replayed
}

// run reads to the end of the log, which is one of three:
//
//   - the clean end, behind which lie frames of the lap before;
//   - a place one lap from where it began, since live frames can fill the ring to its last byte;
//   - the first frame that is not live, where checkEnd has no objection.
func (r *replayer) run(apply func(f *Frame) error) error {
	if err := r.checkFrom(); err != nil {
		return err
	}
	pos := r.from
	for !(r.j.head.clean && pos >= r.j.head.cleanEnd) && pos-r.from < r.j.size {
		at := r.j.skip(pos)
		h, payload, detail, err := r.frame(at)
		if err != nil {
			return err
		}
		if detail != "" {
			if err := r.checkEnd(pos, at, h, detail); err != nil {
				return err
			}
			break
		}
		r.epoch, pos = h.epoch, at+h.space()
		if h.kind == kindPad {
			r.out.hole = h.space() - min(h.space(), r.j.allocatedAtOpen-at%r.j.size)
			continue
		}
		f := h.frame(payload)
		if err := apply(&f); err != nil {
			return err
		}
		r.out.Frames++
	}
	r.out.End, r.out.Bytes = pos, int64(pos-r.from)
	if pos < r.j.cfg.NotBefore { // whole, but not the newest state
		return r.j.corrupt(pos, fmt.Sprintf("it ends at position %d, position %d was reached before: an older copy", pos, r.j.cfg.NotBefore))
	}
	return nil
}

func (r *replayer) checkFrom() error {
	head := &r.j.head
	switch {
	case r.from%frameAlign != 0:
		return fmt.Errorf("journal: replay from %d, positions are multiples of %d", r.from, frameAlign)
	case r.from < head.start:
		return r.j.corrupt(r.from, fmt.Sprintf("replay from position %d, the journal begins at %d", r.from, head.start))
	case head.clean && r.from > head.cleanEnd:
		return r.j.corrupt(r.from, fmt.Sprintf("replay from position %d, the journal ends at %d", r.from, head.cleanEnd))
	}
	return nil
}

// frame reads the frame at pos. Where there is none detail says why; the header may be
// intact all the same, and then checkEnd learns from it how long the torn frame is.
func (r *replayer) frame(pos Pos) (h frameHeader, payload []byte, detail string, err error) {
	j := r.j
	b, err := r.read.at(pos, frameHeaderLen)
	if err != nil {
		return h, nil, "", j.readError(err)
	}
	if !h.parse(b, j.salt) {
		return frameHeader{}, nil, "no whole frame header", nil
	}
	if h.pos != pos {
		detail := fmt.Sprintf("a frame of position %d in the place of %d", h.pos, pos)
		return frameHeader{}, nil, detail, nil
	}
	if live, detail := r.live(&h); !live {
		return frameHeader{}, nil, detail, nil
	}
	// The ring never shrinks, so no frame of an earlier opening is larger than largest is now.
	// A pad reaches to the full ring's end, where the next lap begins, and to nowhere else.
	rest := j.size - pos%j.size
	switch {
	case h.kind == kindPad && h.space() != rest, h.kind != kindPad && h.space() > min(j.largest, j.allocatedAtOpen-pos%j.size):
		return frameHeader{}, nil, fmt.Sprintf("a frame of %d bytes, %d are left in the ring", h.space(), rest), nil
	case h.kind == kindPad:
		return h, nil, "", nil
	}
	b, err = r.read.at(pos, int(h.space()))
	if err != nil {
		return h, nil, "", j.readError(err)
	}
	payload = b[frameHeaderLen:][:h.length]
	if crc32c.Sum(payload) != h.sum {
		return h, nil, "the frame's payload does not match its checksum", nil
	}
	return h, payload, "", nil
}

// live tells a frame of the log from a dead one: one of the lap before, or one behind a
// torn frame where an earlier process was killed. The interleaving that the epochs are for:
//
//  1. In epoch 1 the power goes while frames A, B and C are written. C's page has reached the
//     disk, B's has not.
//  2. The next opening ends the log behind A and begins epoch 2 there. A frame as long as B
//     takes its place. Then that process is killed.
//  3. C is whole and lies where the log would go on. Its epoch gives it away: from where epoch
//     2 begins only frames of epoch 2 count. Before that only lower epochs do, and they never
//     fall along the log.
func (r *replayer) live(h *frameHeader) (bool, string) {
	now, start := r.j.head.epoch, r.j.head.epochStart
	switch {
	case h.pos >= start && h.epoch != now, h.pos < start && h.epoch >= now, h.epoch < r.epoch:
		return false, fmt.Sprintf("a frame of epoch %d, epoch %d began at position %d", h.epoch, now, start)
	}
	return true, ""
}

// checkEnd decides whether the log may end at pos, where the frame expected at the position
// at is torn. That is what a kill or a power cut leaves of an unfinished write, and nobody
// has an answer that rests on it. It is damage (I5) where something proves that the frame
// was whole once:
//
//   - it lies below what the header or the watermark vouches for (proven);
//   - a later frame says that everything up to it was durable when it was appended.
func (r *replayer) checkEnd(pos, at Pos, h frameHeader, detail string) error {
	// pos, not at: where a lap's rest is too short for a header the log may well end at pos.
	if pos < r.proven {
		return r.j.corrupt(at, fmt.Sprintf("%s; frames up to position %d must be there", detail, r.proven))
	}
	end := at
	if h.kind != 0 {
		end = at + h.space()
	}
	later, claim, err := r.scan(at)
	if err != nil {
		return err
	}
	if claim > at {
		return r.j.corrupt(at, fmt.Sprintf("%s; a later frame says that everything up to position %d was durable", detail, claim))
	}
	end = max(end, later)
	if r.j.note.epoch == r.j.head.epoch {
		end = max(end, r.j.note.written)
	}
	if end > at {
		r.out.Dropped = int64(end - pos)
		r.j.cfg.Logger.Info("the journal ends in an unfinished write, which was dropped", "file", r.j.cfg.Path, "position", pos, "bytes", r.out.Dropped)
	}
	return nil
}

// scan looks for frames of the current epoch behind a torn one. It returns the end of the
// last one and the highest position that any of them says was durable. It tries every
// multiple of frameAlign, since the torn frame's length can't be trusted.
//
// Others than those of the current epoch don't count. The hole lies behind the epoch's start
// (proven), so they are of the lap before or dead. A frame that was written out of order, as a
// power loss may leave it, claims no more than was durable before it: that is no damage.
func (r *replayer) scan(hole Pos) (end, claim Pos, err error) {
	const chunk = 1 << 20
	j, limit := r.j, r.from+r.j.size
	for pos := hole + frameAlign; pos < limit; {
		pos = j.skip(pos)
		n := min(chunk, j.allocatedAtOpen-pos%j.size, limit-pos)
		if n < frameHeaderLen {
			break
		}
		b, err := r.read.at(pos, int(n))
		if err != nil {
			return 0, 0, j.readError(err)
		}
		last := len(b) - frameHeaderLen
		for i := 0; i <= last; i += frameAlign {
			var h frameHeader
			if binary.LittleEndian.Uint64(b[i+16:]) != pos+Pos(i) || !h.parse(b[i:], j.salt) || h.epoch != j.head.epoch {
				continue
			}
			end, claim = max(end, h.pos+h.space()), max(claim, h.durable())
		}
		pos += Pos(last) + frameAlign
	}
	return end, claim, nil
}

// skip returns the position at which the frame behind pos begins. That is pos itself,
// unless too little of the lap is left for a header.
func (j *Journal) skip(pos Pos) Pos {
	if off := pos % j.size; off+frameHeaderLen > j.allocatedAtOpen {
		return pos + j.size - off
	}
	return pos
}

func (j *Journal) corrupt(pos Pos, detail string) error {
	return &dedup.CorruptError{File: j.cfg.Path, Offset: ringStart + int64(pos%j.size), Detail: detail}
}

func (j *Journal) readError(err error) error {
	return fmt.Errorf("journal: reading journal %s: %w", j.cfg.Path, err)
}

// ringReader reads pieces of the ring that don't cross its end, ahead by replayChunk. It reads
// the file and not the mapping: a page that the disk can't give is an error here, not a fault.
type ringReader struct {
	file vfs.File
	size uint64
	end  uint64 // of it that is in the file
	buf  []byte
	pos  Pos // of buf[0]
}

const replayChunk = 1 << 20

// at returns n bytes at pos, valid until the next call.
func (r *ringReader) at(pos Pos, n int) ([]byte, error) {
	if pos >= r.pos && pos-r.pos+uint64(n) <= uint64(len(r.buf)) {
		return r.buf[pos-r.pos:][:n], nil
	}
	off := pos % r.size
	want := int(min(max(uint64(n), replayChunk), r.end-off))
	if cap(r.buf) < want {
		r.buf = make([]byte, want)
	}
	r.buf, r.pos = r.buf[:want], pos
	got, err := r.file.ReadAt(r.buf, ringStart+int64(off))
	if err != nil && !(errors.Is(err, io.EOF) && got == want) {
		r.buf = r.buf[:0]
		return nil, err
	}
	return r.buf[:n], nil
}
