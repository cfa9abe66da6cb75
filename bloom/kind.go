package bloom

import "fmt"

// A Kind names a layout of bits. The numbers are part of the snapshot's format.
type Kind uint8

const (
	// Sliced keeps one word of every generation in each cache line: one miss
	// answers for the whole window. The fast one.
	Sliced Kind = iota
	// Compact is a ring of bits-and-blooms filters, one per generation: fewer bits
	// per key for a low rate, many more cache misses. The small one.
	Compact
)

var kindNames = [...]string{Sliced: "sliced", Compact: "compact"}

func (k Kind) valid() bool { return int(k) < len(kindNames) }

// String returns the lower-case name of the kind.
func (k Kind) String() string {
	if k.valid() {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// MarshalText implements [encoding.TextMarshaler] with the name of the kind.
func (k Kind) MarshalText() ([]byte, error) {
	if !k.valid() {
		return nil, fmt.Errorf("bloom: no such kind: %d", uint8(k))
	}
	return []byte(kindNames[k]), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (k *Kind) UnmarshalText(text []byte) error {
	for i, name := range kindNames {
		if name == string(text) {
			*k = Kind(i)
			return nil
		}
	}
	return fmt.Errorf("bloom: no such kind: %q", text)
}

// maxHashes is the largest number of bits a key may set in a filter of the
// kind: ten 6-bit groups are what a 64-bit product holds, and beyond 32 probes
// no rate gets better that anybody asks for.
func (k Kind) maxHashes() int {
	if k == Sliced {
		return 64 / 6
	}
	return 32
}
