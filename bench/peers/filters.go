package peers

import (
	"encoding/binary"
	"math"

	bits "github.com/bits-and-blooms/bloom/v3"
	"github.com/decred/dcrd/container/apbf"
	"github.com/dgraph-io/ristretto/v2/z"
	"github.com/greatroar/blobloom"
	holiman "github.com/holiman/bloomfilter/v2"

	"github.com/firstseen/firstseen/bench"
)

// Filters lists other projects' filters for the filter benchmark. All but the
// last never forget.
func Filters() []bench.FilterCandidate {
	return []bench.FilterCandidate{
		{
			Name: "bits-and-blooms", About: "one plain filter, as many bits per key as given", Generations: 1,
			New: func(keys uint64, bitsPerKey float64) (bench.Filter, error) {
				m := max(64, uint(float64(keys)*bitsPerKey))
				return loop{&plain{bits.New(m, uint(plainHashes(bitsPerKey)))}}, nil
			},
		},
		{
			Name: "blobloom", About: "one blocked filter (512-bit blocks), number of hashes by its own Optimize", Generations: 1,
			New: func(keys uint64, bitsPerKey float64) (bench.Filter, error) {
				// A rate out of reach makes Optimize use all of MaxBits.
				m, k := blobloom.Optimize(blobloom.Config{Capacity: keys, FPRate: 1e-9, MaxBits: uint64(float64(keys) * bitsPerKey)})
				return loop{&blocked{blobloom.New(m, k)}}, nil
			},
		},
		{
			Name: "ristretto", About: "one plain filter (package z); its bits are rounded up to a power of two", Generations: 1,
			New: func(keys uint64, bitsPerKey float64) (bench.Filter, error) {
				return loop{&ristretto{z.NewBloomFilter(float64(keys)*bitsPerKey, plainHashes(bitsPerKey))}}, nil
			},
		},
		{
			Name: "holiman", About: "one plain filter under a lock", Generations: 1,
			New: func(keys uint64, bitsPerKey float64) (bench.Filter, error) {
				f, err := holiman.New(max(64, uint64(float64(keys)*bitsPerKey)), uint64(plainHashes(bitsPerKey)))
				if err != nil {
					return nil, err
				}
				return loop{&locked{f}}, nil
			},
		},
		{
			Name: "apbf", About: "age-partitioned filter (Shtul, Baquero, Almeida 2020) at 1 %, forgets by itself; its size is its own choice", Generations: 2,
			New: func(keys uint64, _ float64) (bench.Filter, error) {
				return loop{&aged{apbf.NewFilter(uint32(min(keys, math.MaxUint32)), 0.01)}}, nil
			},
		},
	}
}

// plainHashes is the best number for a plain filter: bits per key times ln 2.
func plainHashes(bitsPerKey float64) float64 { return max(1, math.Round(bitsPerKey*math.Ln2)) }

// A single is a filter that takes one key at a time.
type single interface {
	add(hash uint64)
	maybe(hash uint64) bool
	bytes() int64
}

// loop gives a filter without batches the shape of one with them.
type loop struct{ single }

func (l loop) Add(hashes []uint64) {
	for _, hash := range hashes {
		l.add(hash)
	}
}

func (l loop) Maybe(hits []bool, hashes []uint64) {
	for i, hash := range hashes {
		hits[i] = l.maybe(hash)
	}
}

func (l loop) MaybeOne(hash uint64) bool { return l.maybe(hash) }
func (l loop) Bytes() int64              { return l.bytes() }
func (l loop) Close()                    {}

type plain struct{ f *bits.BloomFilter }

func (p *plain) add(hash uint64) {
	var key [8]byte
	binary.LittleEndian.PutUint64(key[:], hash)
	p.f.Add(key[:])
}

func (p *plain) maybe(hash uint64) bool {
	var key [8]byte
	binary.LittleEndian.PutUint64(key[:], hash)
	return p.f.Test(key[:])
}

func (p *plain) bytes() int64 { return int64(p.f.Cap()) / 8 }

type blocked struct{ f *blobloom.Filter }

func (b *blocked) add(hash uint64)        { b.f.Add(hash) }
func (b *blocked) maybe(hash uint64) bool { return b.f.Has(hash) }
func (b *blocked) bytes() int64           { return int64(b.f.NumBits()) / 8 }

type ristretto struct{ f *z.Bloom }

func (r *ristretto) add(hash uint64)        { r.f.Add(hash) }
func (r *ristretto) maybe(hash uint64) bool { return r.f.Has(hash) }
func (r *ristretto) bytes() int64           { return int64(r.f.TotalSize()) }

type locked struct{ f *holiman.Filter }

func (l *locked) add(hash uint64)        { l.f.AddHash(hash) }
func (l *locked) maybe(hash uint64) bool { return l.f.ContainsHash(hash) }
func (l *locked) bytes() int64           { return int64(l.f.M()) / 8 }

type aged struct{ f *apbf.Filter }

func (a *aged) add(hash uint64) {
	var key [8]byte
	binary.LittleEndian.PutUint64(key[:], hash)
	a.f.Add(key[:])
}

func (a *aged) maybe(hash uint64) bool {
	var key [8]byte
	binary.LittleEndian.PutUint64(key[:], hash)
	return a.f.Contains(key[:])
}

func (a *aged) bytes() int64 { return int64(a.f.Size()) }
