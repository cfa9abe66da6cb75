package journal

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/firstseen/firstseen/internal/crc32c"
)

// Pos is a place in the endless log of which the journal's ring holds the newest
// part: the number of bytes before it, a multiple of 8.
type Pos = uint64

// Kinds of frames. The journal carries every kind from 1 to 254 and gives none
// of them a meaning.
const (
	KindMark   uint8 = 1 // keys of one shard and form were marked
	KindForget uint8 = 2 // keys of one shard and form were forgotten
	KindRotate uint8 = 3 // a new generation began
	// KindResults: Count results of a generation were written.
	KindResults uint8 = 4
	// kindPad fills the ring's end when the next frame does not fit there; it has
	// a length and no payload. 0 is no kind, so that zeroes are no frame.
	kindPad uint8 = 255
)

// Frame is one entry of the journal: what one call did to one shard.
type Frame struct {
	Kind       uint8  // 1 to 254
	Form       uint8  // the keys' form
	Shard      uint16 // the keys' shard
	Count      uint32 // keys in Payload
	Generation uint64 // the generation they belong to, below 1<<32
	Time       int64  // the engine's clock, ns since 1970
	// Payload is copied by Append. Replay lends it for the time of the call.
	Payload []byte
	// Alone says that no Append follows before the frame is waited for, so that it may
	// be written at once where that is a few stores. Replay does not know it.
	Alone bool
	// End is the position just past the frame, set by Append and Replay.
	End Pos
}

// Layout of a frame in the ring, all numbers little endian:
//
//	 0  1  kind
//	 1  1  form
//	 2  2  shard
//	 4  4  payload length in bytes
//	 8  4  count
//	12  4  epoch
//	16  8  own position
//	24  8  time
//	32  4  generation
//	36  4  lag: (own position - durable position when appended) / 8, see lagUnknown
//	40  4  CRC32C of the payload
//	44  4  CRC32C of bytes 0 to 43, seeded with the journal's salt
//	48     payload, filled up with zeroes to a multiple of 8
//
// The position tells a frame from the one that lay at the same place a lap ago; the epoch,
// from one of the same position that an earlier process left behind a torn frame. Generation
// and time stand in each frame so that a replay needs neither a clock nor a guess.
//
// The header has a checksum of its own. So a frame whose payload is torn still says how long
// it is, and a search for later frames need not read payloads (checkEnd, scan).
//
// The lag is there for a power loss. The watermark may be lost with it, and the journal's
// header is not written while the journal runs; but a frame that is found brings along how far
// the log was durable before it.
const (
	frameHeaderLen = 48
	frameAlign     = 8 // of positions and lengths: what scan has to try
	// lagUnknown stands for a lag of 32 GiB and more: it proves nothing.
	lagUnknown = math.MaxUint32
)

// FrameSpace returns the bytes that a frame with that many bytes of payload
// takes in the ring; Reserve is asked for the sum over the frames.
func FrameSpace(payload int) int {
	return frameHeaderLen + (payload+frameAlign-1)&^(frameAlign-1)
}

// frameHeader is the decoded fixed part of a frame.
type frameHeader struct {
	kind       uint8
	form       uint8
	shard      uint16
	length     uint32
	count      uint32
	epoch      uint32
	pos        Pos
	time       int64
	generation uint32
	lag        uint32
	sum        uint32
}

// space is the frame's size in the ring. It can't overflow.
func (h *frameHeader) space() uint64 {
	return frameHeaderLen + (uint64(h.length)+frameAlign-1)&^(frameAlign-1)
}

// durable is the position below which everything was durable when the frame was
// appended, 0 where that is not known.
func (h *frameHeader) durable() Pos {
	if back := uint64(h.lag) * frameAlign; h.lag != lagUnknown && back <= h.pos {
		return h.pos - back
	}
	return 0
}

// put encodes h at the start of b, which has at least frameHeaderLen bytes.
func (h *frameHeader) put(b []byte, salt uint32) {
	b = b[:frameHeaderLen]
	b[0], b[1] = h.kind, h.form
	binary.LittleEndian.PutUint16(b[2:], h.shard)
	binary.LittleEndian.PutUint32(b[4:], h.length)
	binary.LittleEndian.PutUint32(b[8:], h.count)
	binary.LittleEndian.PutUint32(b[12:], h.epoch)
	binary.LittleEndian.PutUint64(b[16:], h.pos)
	binary.LittleEndian.PutUint64(b[24:], uint64(h.time))
	binary.LittleEndian.PutUint32(b[32:], h.generation)
	binary.LittleEndian.PutUint32(b[36:], h.lag)
	binary.LittleEndian.PutUint32(b[40:], h.sum)
	binary.LittleEndian.PutUint32(b[44:], crc32c.Update(salt, b[:44]))
}

// parse decodes the header at the start of b, which has at least frameHeaderLen
// bytes, and reports whether it is whole. What it says is not checked.
func (h *frameHeader) parse(b []byte, salt uint32) bool {
	b = b[:frameHeaderLen]
	// Kind 0 is asked for by itself: with some salts zeroes match their checksum.
	if b[0] == 0 || binary.LittleEndian.Uint32(b[44:]) != crc32c.Update(salt, b[:44]) {
		return false
	}
	*h = frameHeader{
		kind: b[0], form: b[1],
		shard:      binary.LittleEndian.Uint16(b[2:]),
		length:     binary.LittleEndian.Uint32(b[4:]),
		count:      binary.LittleEndian.Uint32(b[8:]),
		epoch:      binary.LittleEndian.Uint32(b[12:]),
		pos:        binary.LittleEndian.Uint64(b[16:]),
		time:       int64(binary.LittleEndian.Uint64(b[24:])),
		generation: binary.LittleEndian.Uint32(b[32:]),
		lag:        binary.LittleEndian.Uint32(b[36:]),
		sum:        binary.LittleEndian.Uint32(b[40:]),
	}
	return true
}

// frame gives the header as the caller's Frame.
func (h *frameHeader) frame(payload []byte) Frame {
	return Frame{
		Kind: h.kind, Form: h.form, Shard: h.shard, Count: h.count,
		Generation: uint64(h.generation), Time: h.time,
		Payload: payload, End: h.pos + h.space(),
	}
}

// check tells what Append can't take.
func (f *Frame) check(maxFrame uint64) error {
	if f.Kind == 0 || f.Kind == kindPad {
		return fmt.Errorf("journal: frame of kind %d", f.Kind)
	}
	if f.Generation > math.MaxUint32 {
		return fmt.Errorf("journal: frame of generation %d, the largest is %d", f.Generation, uint32(math.MaxUint32))
	}
	if n := uint64(FrameSpace(len(f.Payload))); n > maxFrame {
		return fmt.Errorf("journal: frame of %d bytes, the ring takes %d", n, maxFrame)
	}
	return nil
}
