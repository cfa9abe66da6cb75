package persist

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/firstseen/firstseen/dedup"
)

// kept is what a test has written, by Badger key.
type kept map[string]ResultRecord

// fillResults writes n records in calls of 1 to 200, a tenth of them over older ones, and
// returns the newest of each key with count and sum of all.
func fillResults(t *testing.T, r *Results, rng *rand.Rand, n int) (newest kept, meta ResultsMeta) {
	t.Helper()
	newest = kept{}
	var keys []string
	for meta.Count < uint64(n) {
		writes := make([]ResultsWrite, 1+rng.IntN(3))
		took := map[string]bool{} // keys of these calls: their order would not be known
		for i := range writes {
			meta.Seq++
			writes[i].Seq = meta.Seq
			for range 1 + rng.IntN(200) {
				rec := ResultRecord{Kind: ResultKind(1 + rng.IntN(4))}
				if len(keys) > 0 && rng.IntN(10) == 0 {
					rec.Key = []byte(keys[rng.IntN(len(keys))])
				} else if rng.IntN(2) == 0 {
					rec.Key = AppendResultKey(nil, 0, rng.Uint64(), rng.Uint64(), nil)
				} else {
					rec.Key = AppendResultKey(nil, 3, 0, 0, fmt.Appendf(nil, "%0*d", 1+rng.IntN(250), rng.Uint64()))
				}
				if took[string(rec.Key)] {
					continue
				}
				took[string(rec.Key)] = true
				if rec.Kind == ResultKept {
					rec.Data = bytes.Repeat([]byte{byte(rng.Uint32())}, 1+rng.IntN(300))
				}
				writes[i].Records = append(writes[i].Records, rec)
				keys = append(keys, string(rec.Key))
				newest[string(rec.Key)] = rec
				meta.Count++
				meta.Sum += ResultSum(rec.Key, writes[i].Seq)
			}
		}
		if err := r.Write(writes); err != nil {
			t.Fatal(err)
		}
	}
	return newest, meta
}

// checkResults looks every key up and adds up what a scan gives.
func checkResults(t *testing.T, r *Results, newest kept, meta ResultsMeta) {
	t.Helper()
	for key, want := range newest {
		got, _, ok, err := r.Get([]byte(key), nil)
		if err != nil || !ok || got.Kind != want.Kind || !bytes.Equal(got.Data, want.Data) {
			t.Fatalf("key %x: %v %v %v, want kind %d", key, got.Kind, ok, err, want.Kind)
		}
	}
	if _, _, ok, err := r.Get(AppendResultKey(nil, 0, 1, 2, nil), nil); ok || err != nil {
		t.Errorf("a key that was never written: %v, %v", ok, err)
	}
	count, sum := scanned(t, r)
	if count != meta.Count || sum != meta.Sum {
		t.Errorf("a scan gives %d records with sum %x, want %d, %x", count, sum, meta.Count, meta.Sum)
	}
}

func scanned(t *testing.T, r *Results) (count, sum uint64) {
	t.Helper()
	err := r.Verify(func(key []byte, seq uint64) error {
		count++
		sum += ResultSum(key, seq)
		return nil
	}, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	return count, sum
}

func TestResults(t *testing.T) {
	c := ResultsConfig{Dir: t.TempDir(), ID: 7}
	r, err := CreateResults(c)
	if err != nil {
		t.Fatal(err)
	}
	// Two memtables and more, so that tables and logs are both read.
	newest, meta := fillResults(t, r, rand.New(rand.NewPCG(1, 2)), 40_000)
	checkResults(t, r, newest, meta)
	if err := r.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := r.Get([]byte("a"), nil); !errors.Is(err, dedup.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if r, err = OpenResults(c); err != nil {
		t.Fatal(err)
	}
	checkResults(t, r, newest, meta)
	if ids, err := ListResults(c.Dir); err != nil || len(ids) != 1 || ids[0] != 7 {
		t.Errorf("listed %v, %v", ids, err)
	}
	if err := r.Remove(); err != nil {
		t.Fatal(err)
	}
	if ids, err := ListResults(c.Dir); err != nil || len(ids) != 0 {
		t.Errorf("after their removal: %v, %v", ids, err)
	}
	if _, err := OpenResults(c); !errors.Is(err, dedup.ErrCorrupt) {
		t.Errorf("opening what is not there: %v", err)
	}
}

// TestResultsLarge: a call may be larger than one of Badger's transactions.
func TestResultsLarge(t *testing.T) {
	r, err := CreateResults(ResultsConfig{Dir: t.TempDir(), ID: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w, newest, meta := ResultsWrite{Seq: 5}, kept{}, ResultsMeta{}
	add := func(key []byte, data []byte) {
		rec := ResultRecord{Key: key, Kind: ResultKept, Data: data}
		w.Records, newest[string(key)] = append(w.Records, rec), rec
		meta.Count++
		meta.Sum += ResultSum(key, w.Seq)
	}
	for i := range 12 {
		add(AppendResultKey(nil, 0, uint64(i), 0, nil), bytes.Repeat([]byte{byte(i)}, 3<<20))
	}
	for i := range 3000 {
		add(AppendResultKey(nil, 3, 0, 0, fmt.Appendf(nil, "%0250d", i)), []byte{1})
	}
	if err := r.Write([]ResultsWrite{w}); err != nil {
		t.Fatal(err)
	}
	checkResults(t, r, newest, meta)
}

// TestResultsDamage flips bits in every file of results, cuts and removes it: each time opening
// refuses, a look-up tells the damage, or the count or sum of a scan does. What is given is
// what was kept.
func TestResultsDamage(t *testing.T) {
	if inChild(t) {
		return
	}
	made := ResultsConfig{Dir: t.TempDir(), ID: 1}
	r, err := CreateResults(made)
	if err != nil {
		t.Fatal(err)
	}
	newest, meta := fillResults(t, r, rand.New(rand.NewPCG(3, 4)), 3000)
	if err := r.Sync(); err != nil {
		t.Fatal(err)
	}
	damageResults(t, r.Path(), newest, meta, ".mem", ".vlog") // as a kill leaves them
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	damageResults(t, r.Path(), newest, meta, ".sst", ".vlog")
}

// damageResults damages copies of made; damage of the files of every kind must be noticed.
func damageResults(t *testing.T, made string, newest kept, meta ResultsMeta, kinds ...string) {
	t.Helper()
	entries, err := os.ReadDir(made)
	if err != nil {
		t.Fatal(err)
	}
	files, sizes := map[string][]byte{}, map[string]int64{} // mostly zeroes, which need no copy
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(made, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()], sizes[entry.Name()] = bytes.TrimRight(data, "\x00"), int64(len(data))
	}
	rng, noticed := rand.New(rand.NewPCG(5, 6)), map[string]int{}
	for _, entry := range entries {
		used := len(files[entry.Name()])
		for try := 0; try < 4 && used > 0; try++ {
			dir := t.TempDir()
			copyTo := ResultsPath(dir, 1)
			if err := os.Mkdir(copyTo, 0o755); err != nil {
				t.Fatal(err)
			}
			for name, data := range files {
				size := sizes[name]
				if name == entry.Name() {
					switch try {
					case 0:
						continue
					case 1:
						data, size = data[:used/2], int64(used/2)
					default:
						data = bytes.Clone(data)
						data[rng.IntN(used)] ^= 1 << rng.IntN(8)
					}
				}
				path := filepath.Join(copyTo, name)
				if err := errors.Join(os.WriteFile(path, data, 0o644), os.Truncate(path, size)); err != nil {
					t.Fatal(err)
				}
			}
			if noticesDamage(t, dir, newest, meta) {
				noticed[filepath.Ext(entry.Name())]++
			}
		}
	}
	for _, kind := range kinds {
		if noticed[kind] == 0 {
			t.Errorf("no damage of a %s file was noticed", kind)
		}
	}
}

// noticesDamage reports whether results tell that they are damaged; a result that is given must
// be the one that was kept.
func noticesDamage(t *testing.T, dir string, newest kept, meta ResultsMeta) (noticed bool) {
	t.Helper()
	r, err := OpenResults(ResultsConfig{Dir: dir, ID: 1})
	if err != nil {
		if !errors.Is(err, dedup.ErrCorrupt) {
			t.Errorf("opening: %v", err)
		}
		return true
	}
	defer r.Close()
	var count, sum uint64
	err = r.Scan(func(key []byte, seq uint64) error {
		count++
		sum += ResultSum(key, seq)
		return nil
	})
	whole := err == nil && count == meta.Count && sum == meta.Sum
	for key, want := range newest {
		got, _, ok, err := r.Get([]byte(key), nil)
		switch {
		case errors.Is(err, dedup.ErrCorrupt):
			noticed = true
		case err != nil:
			t.Errorf("key %x: %v", key, err)
		case whole && !ok:
			t.Errorf("key %x is missing and nothing tells", key)
		case whole && (got.Kind != want.Kind || !bytes.Equal(got.Data, want.Data)):
			t.Errorf("key %x has another result and nothing tells", key)
		}
	}
	return noticed || !whole
}
