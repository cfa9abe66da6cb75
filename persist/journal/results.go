package journal

import "encoding/binary"

// resultsBytes is the payload of a frame of KindResults: ID, number and sum, 8 bytes each.
const resultsBytes = 24

// ResultsWritten says that records of results are durable, so that they must be there
// when the journal is read again: Count of them, in the directory ID of results, under
// the number Seq, and Sum is what their sums add up to.
type ResultsWritten struct {
	ID, Seq, Sum uint64
	Count        uint32
}

// Frame returns the frame that tells of r, written at now in a generation.
func (r ResultsWritten) Frame(generation uint64, now int64) *Frame {
	le := binary.LittleEndian
	p := make([]byte, 0, resultsBytes)
	p = le.AppendUint64(le.AppendUint64(le.AppendUint64(p, r.ID), r.Seq), r.Sum)
	return &Frame{Kind: KindResults, Generation: generation, Count: r.Count, Time: now, Payload: p}
}

// Results returns what ResultsWritten.Frame put into f; ok is false if f is not as it
// makes them.
func (f *Frame) Results() (r ResultsWritten, ok bool) {
	if f.Kind != KindResults || len(f.Payload) != resultsBytes {
		return r, false
	}
	le := binary.LittleEndian
	return ResultsWritten{ID: le.Uint64(f.Payload), Seq: le.Uint64(f.Payload[8:]), Sum: le.Uint64(f.Payload[16:]), Count: f.Count}, true
}

// ResultsSpace is the room that such a frame takes.
func ResultsSpace() int { return FrameSpace(resultsBytes) }
