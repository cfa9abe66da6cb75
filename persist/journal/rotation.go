package journal

import "encoding/binary"

// rotationBytes is the payload of a frame of KindRotate: the start of the generation
// and the end of the one before it, which is earlier after an idle time; 8 bytes each.
const rotationBytes = 16

// Rotation is the frame that begins a generation at start; the one before it ended at
// end, both in ns by the engine's clock.
func Rotation(generation uint64, start, end int64) *Frame {
	le := binary.LittleEndian
	return &Frame{Kind: KindRotate, Generation: generation, Time: start,
		Payload: le.AppendUint64(le.AppendUint64(nil, uint64(start)), uint64(end))}
}

// Rotation returns what the function of that name put into f; ok is false if f is not
// as it makes them.
func (f *Frame) Rotation() (start, end int64, ok bool) {
	if f.Kind != KindRotate || len(f.Payload) != rotationBytes {
		return 0, 0, false
	}
	le := binary.LittleEndian
	return int64(le.Uint64(f.Payload)), int64(le.Uint64(f.Payload[8:])), true
}

// RotationSpace is the room that the frames of so many rotations take.
func RotationSpace(rotations int) int { return rotations * FrameSpace(rotationBytes) }
