package intents_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/adapters/intents"
	"github.com/firstseen/firstseen/dedup"
)

func open(t *testing.T, path string) *intents.File {
	t.Helper()
	i, err := intents.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Close() })
	return i
}

// TestFile: what was begun is there after a reopening, what ended is not,
// and a second process is kept out.
func TestFile(t *testing.T) {
	ctx, path := context.Background(), filepath.Join(t.TempDir(), "intents")
	i := open(t, path)
	if _, err := intents.Open(path); !errors.Is(err, dedup.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	var wg sync.WaitGroup
	for n := range 64 {
		wg.Go(func() {
			key := fmt.Appendf(nil, "key %d", n)
			if _, err := i.Begin(ctx, intents.Intent{Key: key, Begun: time.Unix(int64(n), 0)}); err != nil {
				t.Error(err)
			}
			if _, err := i.Begin(ctx, intents.Intent{Key: key}); !errors.Is(err, intents.ErrInDoubt) {
				t.Errorf("begun twice: %v", err)
			}
			if n%2 == 0 {
				if err := i.End(ctx, key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := i.Resolve(ctx, []byte("key 1"), intents.Outcome{Kind: intents.Happened, Status: 201}); err != nil {
		t.Error(err)
	}
	if err := i.Resolve(ctx, []byte("key 0"), intents.Outcome{Kind: intents.NeverHappened}); !errors.Is(err, intents.ErrNoIntent) {
		t.Error(err)
	}
	if read, err := intents.Read(path); err != nil || len(read) != 32 || read[0].Outcome.Status != 201 {
		t.Errorf("read while it is open: %d intents, %v", len(read), err)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Begin(ctx, intents.Intent{Key: []byte("x")}); !errors.Is(err, dedup.ErrClosed) {
		t.Error(err)
	}
	all, err := open(t, path).List(ctx)
	if err != nil || len(all) != 32 || all[0].Outcome.Status != 201 || string(all[0].Key) != "key 1" {
		t.Errorf("%d intents, the first is %+v, %v", len(all), all[0], err)
	}
}

// TestFileCompacts: a file of a service that never stops does not grow.
func TestFileCompacts(t *testing.T) {
	ctx, path := context.Background(), filepath.Join(t.TempDir(), "intents")
	i := open(t, path)
	if _, err := i.Begin(ctx, intents.Intent{Key: []byte("stays")}); err != nil {
		t.Fatal(err)
	}
	name := string(make([]byte, 50_000))
	for n := range 200 {
		key := fmt.Appendf(nil, "%d", n)
		if _, err := i.Begin(ctx, intents.Intent{Key: key, Name: name}); err != nil {
			t.Fatal(err)
		}
		if err := i.End(ctx, key); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Size() > 4<<20 {
		t.Errorf("%d bytes, %v", st.Size(), err)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	if all, err := open(t, path).List(ctx); err != nil || len(all) != 1 || string(all[0].Key) != "stays" {
		t.Errorf("%d intents, %v", len(all), err)
	}
}

// TestFileDamage: the file cut at any length opens with what was whole; a
// flipped bit before the last frame is damage and is told.
func TestFileDamage(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	path := filepath.Join(dir, "intents")
	i := open(t, path)
	for n := range 3 {
		if _, err := i.Begin(ctx, intents.Intent{Key: []byte{byte('a' + n)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	frame := 8 + int(binary.LittleEndian.Uint32(whole))
	reopen := func(data []byte) (int, error) {
		t.Helper()
		p := filepath.Join(dir, "damaged")
		if err := os.WriteFile(p, data, 0o600); err != nil {
			t.Fatal(err)
		}
		i, err := intents.Open(p)
		if err != nil {
			return 0, err
		}
		defer i.Close()
		all, err := i.List(ctx)
		return len(all), err
	}
	for size := range len(whole) {
		if n, err := reopen(whole[:size]); err != nil || n != size/frame {
			t.Fatalf("cut to %d bytes: %d intents, %v", size, n, err)
		}
	}
	if n, err := reopen(append(whole, make([]byte, 100)...)); err != nil || n != 3 {
		t.Errorf("with zeroes behind it: %d, %v", n, err)
	}
	for at := 8; at < frame; at++ {
		data := append([]byte(nil), whole...)
		data[at] ^= 4
		if _, err := reopen(data); !errors.Is(err, dedup.ErrCorrupt) {
			t.Fatalf("a bit flipped at %d: %v", at, err)
		}
	}
}
