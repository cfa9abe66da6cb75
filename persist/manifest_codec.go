package persist

import (
	"encoding/binary"
)

// The body of the file MANIFEST (see format.go for its frame): the fields in
// this order, every number little endian, every list preceded by its length in
// 4 bytes.
//
//	manifest    Sequence 8, Clock 8, Wall 8, Window 8, Span 8, Tail 8, NextID 8,
//	            NextSeq 8, Capacity 8, Covered: list of 8, Generations: list,
//	            Lost: list
//	generation  Number 8, Start 8, End 8, Keys 8, Snapshot 8, Segments: list
//	segment     ID 8, Runs: list
//	run         ID 8, Shard 2, Form 1, flags 1 (bit 0: tombstones), Zeros 1,
//	            Seq 8, Keys 8, MaxPos 8, Blocks 4, Sum 8, Index: value, Values:
//	            list
//	value       Bytes 4, CRC 4
//	gap         Generation 8, Start 8, End 8, flags 1 (bit 0: blind, bit 1:
//	            accepted), Reason: list of bytes
//
// Version 2 has more behind that, and is written only where there is more to tell:
//
//	manifest    Results: list
//	results     ID 8, Generation 8, Seq 8, Settled 8, Count 8, Sum 8, flags 1
//	            (bit 0: lost)
//
// Flags that are not named here are damage: a format that has more of them has another version.
//
// The constants are the fewest bytes that an element takes, by which list bounds its length.
const (
	generationMin = 5*8 + 4
	segmentMin    = 8 + 4
	runMin        = 8 + 2 + 1 + 1 + 1 + 8 + 8 + 8 + 4 + 8 + valueSize + 4
	valueSize     = 8
	gapMin        = 3*8 + 1 + 4
	resultsMin    = 6*8 + 1
)

// Encode returns the content of the file MANIFEST.
func (m *Manifest) Encode() []byte {
	var e encoder
	for _, v := range []uint64{m.Sequence, uint64(m.Clock), uint64(m.Wall), uint64(m.Window), uint64(m.Span),
		m.Tail, m.NextID, m.NextSeq, m.Capacity} {
		e.u64(v)
	}
	e.length(len(m.Covered))
	for _, p := range m.Covered {
		e.u64(p)
	}
	e.length(len(m.Generations))
	for i := range m.Generations {
		e.generation(&m.Generations[i])
	}
	e.length(len(m.Lost))
	for _, g := range m.Lost {
		e.u64(g.Generation)
		e.u64(uint64(g.Start))
		e.u64(uint64(g.End))
		e.p = append(e.p, flagByte(g.Blind)|flagByte(g.Accepted)<<1)
		e.length(len(g.Reason))
		e.p = append(e.p, g.Reason...)
	}
	if len(m.Results) == 0 {
		return seal(manifestMagic, 1, e.p)
	}
	e.length(len(m.Results))
	for _, r := range m.Results {
		for _, v := range []uint64{r.ID, r.Generation, r.Seq, r.Settled, r.Count, r.Sum} {
			e.u64(v)
		}
		e.p = append(e.p, flagByte(r.Lost))
	}
	return seal(manifestMagic, manifestVersion, e.p)
}

type encoder struct{ p []byte }

func (e *encoder) u32(v uint32) { e.p = binary.LittleEndian.AppendUint32(e.p, v) }
func (e *encoder) u64(v uint64) { e.p = binary.LittleEndian.AppendUint64(e.p, v) }
func (e *encoder) length(n int) { e.u32(uint32(n)) }

func (e *encoder) generation(g *GenerationMeta) {
	e.u64(g.Number)
	e.u64(uint64(g.Start))
	e.u64(uint64(g.End))
	e.u64(g.Keys)
	e.u64(g.Snapshot)
	e.length(len(g.Segments))
	for i := range g.Segments {
		e.u64(g.Segments[i].ID)
		e.length(len(g.Segments[i].Runs))
		for j := range g.Segments[i].Runs {
			e.run(&g.Segments[i].Runs[j])
		}
	}
}

func (e *encoder) run(r *RunMeta) {
	e.u64(r.ID)
	e.p = binary.LittleEndian.AppendUint16(e.p, r.Shard)
	e.p = append(e.p, r.Form, flagByte(r.Tombstones), r.Zeros)
	e.u64(r.Seq)
	e.u64(r.Keys)
	e.u64(r.MaxPos)
	e.u32(r.Blocks)
	e.u64(r.Sum)
	e.value(r.Index)
	e.length(len(r.Values))
	for _, v := range r.Values {
		e.value(v)
	}
}

func (e *encoder) value(v ValueMeta) {
	e.u32(v.Bytes)
	e.u32(v.CRC)
}

// DecodeManifest decodes the content of a file MANIFEST; file is its name, for
// errors. It allocates no more than a small multiple of len(data), whatever the
// data says.
func DecodeManifest(data []byte, file string) (*Manifest, error) {
	body, err := unseal(data, manifestMagic, manifestVersion, file)
	if err != nil {
		return nil, err
	}
	d := decoder{rest: body}
	m := &Manifest{
		Sequence: d.u64(), Clock: d.i64(), Wall: d.i64(), Window: d.i64(), Span: d.i64(),
		Tail: d.u64(), NextID: d.u64(), NextSeq: d.u64(), Capacity: d.u64(),
	}
	m.Covered = list(&d, 8, (*decoder).u64)
	m.Generations = list(&d, generationMin, (*decoder).generation)
	m.Lost = list(&d, gapMin, (*decoder).gap)
	if version := binary.LittleEndian.Uint32(data[8:]); version > 1 {
		if m.Results = list(&d, resultsMin, (*decoder).results); m.Results == nil {
			d.fail("version 2 without results")
		}
	}
	if d.bad == "" && len(d.rest) > 0 {
		d.fail("bytes left over")
	}
	if d.bad != "" {
		return nil, corrupt(file, int64(sealHeader+len(body)-len(d.rest)), "%s", d.bad)
	}
	return m, nil
}

// decoder takes numbers off the front of rest. After the first problem it gives
// zeroes, so that only the end has to ask.
type decoder struct {
	rest []byte
	bad  string // the first problem
}

func (d *decoder) fail(detail string) {
	if d.bad == "" {
		d.bad = detail
	}
}

func (d *decoder) take(n int) []byte {
	if d.bad != "" || len(d.rest) < n {
		d.fail("ends too early")
		return make([]byte, 8)[:min(n, 8)]
	}
	p := d.rest[:n]
	d.rest = d.rest[n:]
	return p
}

func (d *decoder) u8() uint8   { return d.take(1)[0] }
func (d *decoder) u16() uint16 { return binary.LittleEndian.Uint16(d.take(2)) }
func (d *decoder) u32() uint32 { return binary.LittleEndian.Uint32(d.take(4)) }
func (d *decoder) u64() uint64 { return binary.LittleEndian.Uint64(d.take(8)) }
func (d *decoder) i64() int64  { return int64(d.u64()) }

// list decodes a list whose elements take at least elem bytes each, which bounds
// what a hostile length can make it allocate.
func list[T any](d *decoder, elem int, one func(*decoder) T) []T {
	n := d.u32()
	if uint64(n)*uint64(elem) > uint64(len(d.rest)) {
		d.fail("list longer than the file")
	}
	if n == 0 || d.bad != "" {
		return nil
	}
	l := make([]T, 0, n)
	for range n {
		if l = append(l, one(d)); d.bad != "" {
			return nil
		}
	}
	return l
}

func (d *decoder) generation() GenerationMeta {
	return GenerationMeta{Number: d.u64(), Start: d.i64(), End: d.i64(), Keys: d.u64(), Snapshot: d.u64(),
		Segments: list(d, segmentMin, (*decoder).segment)}
}

func (d *decoder) segment() SegmentMeta {
	return SegmentMeta{ID: d.u64(), Runs: list(d, runMin, (*decoder).run)}
}

func (d *decoder) run() RunMeta {
	r := RunMeta{ID: d.u64(), Shard: d.u16(), Form: d.u8()}
	flags := d.u8()
	if flags > 1 {
		d.fail("unknown flags of a run")
	}
	r.Tombstones = flags == 1
	r.Zeros = d.u8()
	r.Seq, r.Keys, r.MaxPos, r.Blocks, r.Sum = d.u64(), d.u64(), d.u64(), d.u32(), d.u64()
	r.Index = d.value()
	r.Values = list(d, valueSize, (*decoder).value)
	return r
}

func (d *decoder) results() ResultsMeta {
	r := ResultsMeta{ID: d.u64(), Generation: d.u64(), Seq: d.u64(), Settled: d.u64(), Count: d.u64(), Sum: d.u64()}
	flags := d.u8()
	if flags > 1 {
		d.fail("unknown flags of results")
	}
	r.Lost = flags == 1
	return r
}

func (d *decoder) value() ValueMeta { return ValueMeta{Bytes: d.u32(), CRC: d.u32()} }

func (d *decoder) gap() GapMeta {
	g := GapMeta{Generation: d.u64(), Start: d.i64(), End: d.i64()}
	flags := d.u8()
	if flags > 3 {
		d.fail("unknown flags of a gap")
	}
	g.Blind, g.Accepted = flags&1 != 0, flags&2 != 0
	n := d.u32()
	if uint64(n) > uint64(len(d.rest)) {
		d.fail("text longer than the file")
		return g
	}
	g.Reason = string(d.take(int(n)))
	return g
}
