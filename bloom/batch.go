package bloom

import "github.com/firstseen/firstseen/internal/prefetch"

// A batcher is a filter with what the loop of package shards takes beyond Filter, of which it
// is no part: calls for keys whose cache lines were prefetched before. That package asks for
// them by an interface of its own.
type batcher interface {
	Filter
	// MaybePrefetched gives the answers of MaybeBatch, and is made for orders that Prefetch
	// was given a while before. As many keys of beside, which may be nil, are prefetched
	// between the tests.
	MaybePrefetched(masks []uint8, orders []uint64, beside *prefetch.Queue)
	// AddAbsent puts into masks[i] which slots of held may hold the key, those of blind
	// whatever they say, and the keys that none may hold into slot, one of held, one after
	// the other: an equal key behind it finds it there. (Whether the bits of other keys
	// before it make one that other slots may hold a "maybe" of this slot is left open.) It is
	// made for orders that Prefetch was given a while before, and panics when masks is shorter
	// than orders. As many keys of beside, which may be nil, are prefetched between the tests.
	// It concerns slot, and the one that is being cleared.
	AddAbsent(slot int, held, blind uint8, masks []uint8, orders []uint64, beside *prefetch.Queue)
}

var _, _ batcher = (*sliced)(nil), (*compact)(nil)

// testPiece is how many keys are tested between prefetches where those are not made key by key.
const testPiece = 32
