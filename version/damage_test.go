package version

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/firstseen/firstseen/dedup"
)

// fill makes a store with 100 entities, and calls do while it is open or, with
// closed, after it was closed.
func fill(t *testing.T, closed bool, do func(dir string, s *Store)) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "versions")
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for round := range uint64(3) {
		var updates []Update
		for i := range uint64(100) {
			updates = append(updates, Update{fmt.Appendf(nil, "entity %d", i), 1 + 100*round + i})
		}
		if _, err := s.ObserveBatch(t.Context(), nil, updates); err != nil {
			t.Fatal(err)
		}
	}
	if !closed {
		do(dir, s)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if closed {
		do(dir, s)
	}
	return dir
}

// killed returns a copy of the directory of an open store, as kill -9 leaves it.
func killed(t *testing.T) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	fill(t, false, func(dir string, _ *Store) {
		if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(to, "badger", "LOCK")); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	})
	return to
}

func one(t *testing.T, pattern string) string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %v, %v", pattern, paths, err)
	}
	return paths[0]
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func wantCorrupt(t *testing.T, dir string) {
	t.Helper()
	s, err := Open(dir, Options{})
	var c *dedup.CorruptError
	if !errors.Is(err, dedup.ErrCorrupt) || !errors.As(err, &c) {
		t.Errorf("opened: %v", err)
	}
	if s != nil {
		_ = s.Close()
	}
}

func wantWhole(t *testing.T, dir string) {
	t.Helper()
	s := open(t, dir, Options{})
	for i := range uint64(100) {
		if v, err := s.Current(t.Context(), fmt.Appendf(nil, "entity %d", i)); err != nil || v != 201+i {
			t.Fatalf("entity %d is at %d, %v", i, v, err)
		}
	}
}

func TestKilledCopyIsWhole(t *testing.T) { wantWhole(t, killed(t)) }

// TestLostTail: Badger cuts its log off at the first damaged byte, and says
// nothing. What it still has then is consistent, and too old.
func TestLostTail(t *testing.T) {
	f := func(name string, at func(log []byte) int64) {
		t.Run(name, func(t *testing.T) {
			dir := killed(t)
			path := one(t, filepath.Join(dir, "badger", "*.mem"))
			log, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			flip(t, path, at(log))
			wantCorrupt(t, dir)
		})
	}
	f("beginning", func([]byte) int64 { return 60 })
	f("middle", func(log []byte) int64 { return int64(len(bytes.TrimRight(log, "\x00"))) / 2 })
	f("last transaction", func(log []byte) int64 { return int64(len(bytes.TrimRight(log, "\x00"))) - 10 })
}

func TestLostFiles(t *testing.T) {
	f := func(name, pattern string, copied bool) {
		t.Run(name, func(t *testing.T) {
			dir := ""
			if copied {
				dir = killed(t)
			} else {
				dir = fill(t, true, func(string, *Store) {})
			}
			if err := os.Remove(one(t, filepath.Join(dir, pattern))); err != nil {
				t.Fatal(err)
			}
			wantCorrupt(t, dir)
			if tables, err := filepath.Glob(filepath.Join(dir, "badger", "*.sst")); err != nil || len(tables) == 0 && name == "list of tables" {
				t.Errorf("opening has removed the tables: %v, %v", tables, err)
			}
		})
	}
	f("log", "badger/*.mem", true)
	f("table", "badger/*.sst", false)
	f("list of tables", "badger/MANIFEST", false)
	f("promise", "PROMISE", false)
}

// TestOldCopies: each half of a directory beside an older other half.
func TestOldCopies(t *testing.T) {
	var older string
	dir := fill(t, false, func(dir string, _ *Store) {
		older = filepath.Join(t.TempDir(), "older")
		if err := os.CopyFS(older, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
	})
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(5) {
		if _, err := s.Observe(t.Context(), []byte("entity 0"), 1000+i); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	swap := func(name string) {
		t.Helper()
		for _, step := range [][2]string{{dir, dir + ".x"}, {older, dir}, {dir + ".x", older}} {
			if err := os.Rename(filepath.Join(step[0], name), filepath.Join(step[1], name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Mkdir(dir+".x", 0o755); err != nil {
		t.Fatal(err)
	}
	swap("badger")
	wantCorrupt(t, dir)
	wantCorrupt(t, older)
}

// TestPromiseSlots: one damaged slot is made up for by the other one.
func TestPromiseSlots(t *testing.T) {
	for slot := range int64(2) {
		dir := fill(t, true, func(string, *Store) {})
		flip(t, filepath.Join(dir, "PROMISE"), slot*slotSize+20)
		wantWhole(t, dir)
	}
	dir := fill(t, true, func(string, *Store) {})
	flip(t, filepath.Join(dir, "PROMISE"), 20)
	flip(t, filepath.Join(dir, "PROMISE"), slotSize+20)
	wantCorrupt(t, dir)
}

func tamper(t *testing.T, dir string, change func(txn *badger.Txn) error) {
	t.Helper()
	db, err := badger.Open(badger.DefaultOptions(filepath.Join(dir, "badger")).WithLogger(nil))
	if err == nil {
		err = errors.Join(db.Update(change), db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestAhead: a crash between a transaction and its promise. The promise says
// nothing of this transaction then, its own totals do.
func TestAhead(t *testing.T) {
	f := func(change func(txn *badger.Txn) error) string {
		var promise []byte
		dir := fill(t, false, func(dir string, s *Store) {
			var err error
			if promise, err = os.ReadFile(filepath.Join(dir, "PROMISE")); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Observe(t.Context(), []byte("entity 100"), 1); err != nil {
				t.Fatal(err)
			}
		})
		if err := os.WriteFile(filepath.Join(dir, "PROMISE"), promise, 0o644); err != nil {
			t.Fatal(err)
		}
		if change != nil {
			tamper(t, dir, change)
		}
		return dir
	}
	dir := f(nil)
	wantWhole(t, dir)
	wantCorrupt(t, f(func(txn *badger.Txn) error { return txn.Delete(appendKey(nil, []byte("entity 7"))) }))
	// Opening brings the promise up to the totals.
	if s := open(t, f(nil), Options{}); s.db.promise.last != s.db.totals || s.db.totals.txns != 4 {
		t.Errorf("promised %+v, there is %+v", s.db.promise.last, s.db.totals)
	}
}

// TestTampered: values and totals that Badger holds for sound.
func TestTampered(t *testing.T) {
	entity := appendKey(nil, []byte("entity 7"))
	f := func(name string, change func(txn *badger.Txn) error) {
		t.Run(name, func(t *testing.T) {
			dir := fill(t, true, func(string, *Store) {})
			tamper(t, dir, change)
			wantCorrupt(t, dir)
		})
	}
	f("value is gone", func(txn *badger.Txn) error { return txn.Delete(entity) })
	f("older version", func(txn *badger.Txn) error { return txn.Set(entity, encodeValue(entity, 8)) })
	f("checksum", func(txn *badger.Txn) error { return txn.Set(entity, make([]byte, valueSize)) })
	f("value of another", func(txn *badger.Txn) error {
		return txn.Set(entity, encodeValue(appendKey(nil, []byte("entity 8")), 208))
	})
	f("one too many", func(txn *badger.Txn) error {
		key := appendKey(nil, []byte("new"))
		return txn.Set(key, encodeValue(key, 1))
	})
	f("totals are gone", func(txn *badger.Txn) error { return txn.Delete(keyTotals) })
	f("strange key", func(txn *badger.Txn) error { return txn.Set([]byte("zzz"), []byte("z")) })
}

// TestDamagedWhileOpen: a look-up that meets damage answers nothing for this
// entity, and the others are answered.
func TestDamagedWhileOpen(t *testing.T) {
	dir := fill(t, true, func(string, *Store) {})
	s := open(t, dir, Options{})
	key := appendKey(nil, []byte("entity 7"))
	if err := s.db.badger.Update(func(txn *badger.Txn) error { return txn.Set(key, make([]byte, valueSize)) }); err != nil {
		t.Fatal(err)
	}
	as, err := s.ObserveBatch(t.Context(), nil, []Update{{[]byte("entity 7"), 1000}, {[]byte("entity 8"), 1000}})
	if !errors.Is(err, dedup.ErrCorrupt) || as[0] != (Answer{}) || as[1] != (Answer{Apply, 1000}) {
		t.Errorf("%+v, %v", as, err)
	}
}

// TestInterruptedCreation: a kill before the first transaction leaves a store
// that opens.
func TestInterruptedCreation(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "PROMISE.new"), []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := create(dir)
	if err != nil {
		t.Fatal(err)
	}
	p.file.Close()
	s := open(t, dir, Options{})
	if a, err := s.Observe(t.Context(), []byte("a"), 1); err != nil || a.Verdict != Apply {
		t.Error(a, err)
	}
	strange := t.TempDir()
	if err := os.WriteFile(filepath.Join(strange, "letter.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	wantCorrupt(t, strange)
}

// TestGolden pins the bytes.
func TestGolden(t *testing.T) {
	f := func(got []byte, want string) {
		t.Helper()
		if hex.EncodeToString(got) != want {
			t.Errorf("%x, want %s", got, want)
		}
	}
	f(appendKey(nil, []byte("ab")), "656162")
	f(appendKey(nil, make([]byte, 256)), "645341e6b2646979a70e57653007a1f310169421ec9bdd9f1a5648f75ade005af1")
	f(encodeValue([]byte("eab"), 258), "00000000000001026f33b274")
	f(totals{1, 2, 3}.encode(), "00000000000000010000000000000002000000000000000325de1924")
	f(binary.BigEndian.AppendUint64(nil, hash([]byte("eab"), 258)), "397fe6eb20fc4f19")
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("ea"), encodeValue([]byte("ea"), 7))
	f.Add([]byte("t"), totals{1, 2, 3}.encode())
	f.Fuzz(func(t *testing.T, key, b []byte) {
		if v, err := decodeValue(key, b); err == nil && !bytes.Equal(encodeValue(key, v), b) {
			t.Errorf("%x of %x is %d", b, key, v)
		}
		if v, err := decodeTotals(b); err == nil && !bytes.Equal(v.encode(), b) {
			t.Errorf("%x is %+v", b, v)
		}
	})
}
