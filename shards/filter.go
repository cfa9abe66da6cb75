package shards

import (
	"fmt"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/internal/prefetch"
)

// A filter is a bloom.Filter with what the loop over a batch takes of it beyond that: see
// package bloom, batch.go. It is asked for here, so that the kernels are no part of what
// that package promises.
type filter interface {
	bloom.Filter
	MaybePrefetched(masks []uint8, orders []uint64, beside *prefetch.Queue)
	AddAbsent(slot int, held, blind uint8, masks []uint8, orders []uint64, beside *prefetch.Queue)
}

func newFilter(kind bloom.Kind, c bloom.Config) (filter, error) {
	f, err := bloom.New(kind, c)
	if err != nil {
		return nil, err
	}
	fast, ok := f.(filter)
	if !ok {
		return nil, fmt.Errorf("shards: a filter of kind %v has no calls for batches", kind)
	}
	return fast, nil
}
