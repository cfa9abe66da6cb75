package persist

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/vfs"
	"github.com/firstseen/firstseen/persist/journal"
)

var update = flag.Bool("update", false, "write the golden files of the formats")

// golden compares data with testdata/name.
func golden(t *testing.T, name string, data []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, want) {
		t.Errorf("%s has changed: directories made before can't be read", name)
	}
}

func sampleManifest() *Manifest {
	return &Manifest{
		Sequence: 1, Clock: 2, Wall: -3, Window: 4, Span: 5,
		Covered: []journal.Pos{6, 7, 1 << 63}, Tail: 8, NextID: 9, NextSeq: 10, Capacity: 11,
		Generations: []GenerationMeta{
			{Number: 12, Start: 13, End: 14, Keys: 15, Snapshot: 36},
			{Number: 16, Start: -17, Keys: 18, Segments: []SegmentMeta{
				{ID: 19},
				{ID: 20, Runs: []RunMeta{
					{ID: 21, Shard: 22, Form: 3, Tombstones: true, Zeros: 37, Seq: 23, Keys: 24, MaxPos: 25, Blocks: 26,
						Values: []ValueMeta{{27, 28}, {29, 1<<32 - 1}}, Index: ValueMeta{30, 31}, Sum: 1<<64 - 1},
					{ID: 32},
				}},
			}},
		},
		Lost: []GapMeta{{Generation: 33, Start: 34, End: 35, Blind: true, Reason: "disk died, ü"}, {Accepted: true}},
	}
}

// sampleResults is a manifest with what version 2 has more.
func sampleResults() *Manifest {
	m := sampleManifest()
	m.Results = []ResultsMeta{{ID: 38, Generation: 39, Seq: 40, Settled: 41, Count: 42, Sum: 1<<64 - 2}, {Lost: true}}
	return m
}

func TestManifestGolden(t *testing.T) {
	m := sampleManifest()
	checkGoldenManifest(t, "manifest-v1", m)
	checkGoldenManifest(t, "manifest-v2", sampleResults())
	c := m.Clone()
	if !reflect.DeepEqual(c, m) {
		t.Errorf("clone is %+v", c)
	}
	c.Covered[0], c.Lost[0].Reason, c.Generations[0].Keys = 99, "x", 99
	c.Generations[1].Segments[1].Runs[0].Values[0].CRC = 99
	c.Generations[1].Segments[1].ID = 99
	if !reflect.DeepEqual(m, sampleManifest()) {
		t.Error("the clone shares memory")
	}
	empty, err := DecodeManifest(new(Manifest).Encode(), "MANIFEST")
	if err != nil || !reflect.DeepEqual(empty, &Manifest{}) {
		t.Errorf("empty manifest: %+v, %v", empty, err)
	}
}

func checkGoldenManifest(t *testing.T, name string, m *Manifest) {
	t.Helper()
	data := m.Encode()
	golden(t, name, data)
	got, err := DecodeManifest(data, "MANIFEST")
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, m) {
		t.Errorf("decoded %+v\nwant    %+v", got, m)
	}
	if c := m.Clone(); !reflect.DeepEqual(c, m) {
		t.Errorf("clone is %+v", c)
	}
}

// checkDamage changes a sealed file in every way that a test can afford: each is
// a *dedup.CorruptError that names the file.
func checkDamage(t *testing.T, data []byte, decode func([]byte) error) {
	t.Helper()
	check := func(what string, at int, damaged []byte) {
		t.Helper()
		var ce *dedup.CorruptError
		if err := decode(damaged); !errors.As(err, &ce) || ce.File != "a file" {
			t.Fatalf("%s at %d: %v", what, at, err)
		}
	}
	for i := range data {
		for bit := range 8 {
			damaged := bytes.Clone(data)
			damaged[i] ^= 1 << bit
			check("flipped bit", i, damaged)
		}
		check("cut", i, data[:i])
	}
	check("zero appended", len(data), append(bytes.Clone(data), 0))
	rng := rand.New(rand.NewPCG(1, 1))
	for range 1_000 {
		damaged := bytes.Clone(data)
		from := rng.IntN(len(damaged))
		for i := range damaged[from:min(len(damaged), from+512)] {
			damaged[from+i] = 0
		}
		if !bytes.Equal(damaged, data) {
			check("zeroed sector", from, damaged)
		}
	}
}

func TestManifestDamage(t *testing.T) {
	checkDamage(t, sampleResults().Encode(), func(p []byte) error {
		_, err := DecodeManifest(p, "a file")
		return err
	})
}

// TestManifestBody gives bodies with right checksums and wrong contents.
func TestManifestBody(t *testing.T) {
	whole := sampleManifest().Encode()
	body := whole[sealHeader : len(whole)-4]
	f := func(body []byte, want string) {
		t.Helper()
		_, err := DecodeManifest(seal(manifestMagic, 1, body), "MANIFEST")
		var ce *dedup.CorruptError
		if !errors.As(err, &ce) || ce.Detail != want {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f(nil, "ends too early")
	f(body[:70], "ends too early")
	f(append(bytes.Clone(body), 0), "bytes left over")
	huge := bytes.Clone(body)
	copy(huge[72:], "\xff\xff\xff\xff")
	f(huge, "list longer than the file")

	_, err := DecodeManifest(seal(manifestMagic, 2, append(bytes.Clone(body), 0, 0, 0, 0)), "MANIFEST")
	if !errors.Is(err, dedup.ErrCorrupt) {
		t.Errorf("version 2 without what makes it one: %v", err)
	}
	_, err = DecodeManifest(seal(manifestMagic, manifestVersion+1, nil), "MANIFEST")
	if !errors.Is(err, dedup.ErrIncompatible) || errors.Is(err, dedup.ErrCorrupt) {
		t.Errorf("newer version: %v", err)
	}
	_, err = DecodeManifest(seal(manifestMagic, 0, body), "MANIFEST")
	if !errors.Is(err, dedup.ErrCorrupt) {
		t.Errorf("version 0: %v", err)
	}
	_, err = DecodeManifest(seal(identityMagic, 1, body), "MANIFEST")
	if !errors.Is(err, dedup.ErrCorrupt) {
		t.Errorf("another file: %v", err)
	}
}

func TestManifestFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadManifest(vfs.OS(), dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no manifest: %v", err)
	}
	for seq := range uint64(3) {
		m := sampleManifest()
		m.Sequence = seq
		if err := WriteManifest(vfs.OS(), dir, m); err != nil {
			t.Fatal(err)
		}
		got, err := ReadManifest(vfs.OS(), dir)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Fatalf("read %+v, %v", got, err)
		}
	}
	path := filepath.Join(dir, ManifestName)
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	var ce *dedup.CorruptError
	if _, err := ReadManifest(vfs.OS(), dir); !errors.As(err, &ce) || ce.File != path {
		t.Errorf("cut manifest: %v", err)
	}
}

// FuzzDecodeManifest fuzzes the body, since no mutation would get past the
// checksum. What decodes encodes to the same bytes, and no input makes the
// decoder allocate much more than it is long.
func FuzzDecodeManifest(f *testing.F) {
	for _, m := range []*Manifest{{}, sampleManifest(), sampleResults()} {
		data := m.Encode()
		f.Add(data[sealHeader:len(data)-4], len(m.Results) > 0)
	}
	f.Fuzz(func(t *testing.T, body []byte, newest bool) {
		version := uint32(1)
		if newest {
			version = manifestVersion
		}
		data := seal(manifestMagic, version, body)
		m, err := DecodeManifest(data, "MANIFEST")
		if err != nil {
			if !errors.Is(err, dedup.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(m.Encode(), data) {
			t.Fatal("encodes differently")
		}
		if n := m.elements(); n > len(body)/8+1 {
			t.Fatalf("%d elements from %d bytes", n, len(body))
		}
	})
}

// elements counts what the decoder had to allocate for.
func (m *Manifest) elements() int {
	n := len(m.Covered) + len(m.Generations) + len(m.Lost) + len(m.Results)
	for _, g := range m.Generations {
		n += len(g.Segments)
		for _, s := range g.Segments {
			n += len(s.Runs)
			for _, r := range s.Runs {
				n += len(r.Values)
			}
		}
	}
	return n
}

// FuzzUnseal fuzzes the frame.
func FuzzUnseal(f *testing.F) {
	f.Add(sampleManifest().Encode())
	f.Add(testIdentity().encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		body, err := unseal(data, manifestMagic, manifestVersion, "MANIFEST")
		if err == nil && !bytes.Equal(seal(manifestMagic, binary.LittleEndian.Uint32(data[8:]), body), data) {
			t.Fatal("seals differently")
		}
		if err != nil && !errors.Is(err, dedup.ErrCorrupt) && !errors.Is(err, dedup.ErrIncompatible) {
			t.Fatal(err)
		}
	})
}
