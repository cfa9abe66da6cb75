package persist

// What the journal's outside tests need of its inside.

const (
	RingStart      = ringStart
	FrameHeaderLen = frameHeaderLen
	MarkSuffix     = markSuffix
)

// WithBoot gives c another machine run: what an earlier one handed to its
// operating system need not be there.
func (c JournalConfig) WithBoot(n byte) JournalConfig {
	c.bootID = &[16]byte{n}
	return c
}

// ReencodeHeader decodes a header copy and encodes it again.
func ReencodeHeader(b []byte) ([]byte, uint32, error) {
	h, err := decodeJournalHeader(b)
	if err != nil {
		return nil, 0, err
	}
	return h.encode(), h.salt(), nil
}

// ReencodeFrame decodes a frame header and encodes it again; nil when it is not
// whole.
func ReencodeFrame(b []byte, salt uint32) []byte {
	var h frameHeader
	if len(b) < frameHeaderLen || !h.parse(b, salt) {
		return nil
	}
	out := make([]byte, frameHeaderLen)
	h.put(out, salt)
	return out
}

// Epoch returns the epoch of frames appended now.
func (j *Journal) Epoch() uint32 { return j.head.epoch }
