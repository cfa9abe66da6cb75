// Walk admits one batch of 1,000 new keys of 16 bytes with the coverage counters cleared before
// it, and writes them to the directory that it is given. scripts/walk builds and reads it.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"runtime/coverage"
	"time"

	"github.com/firstseen/firstseen/engine"
)

func main() {
	if err := walk(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "walk:", err)
		os.Exit(1)
	}
}

func walk(out string) error {
	dir, err := os.MkdirTemp("", "walk")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	e, err := engine.Open(dir, engine.Options{Window: time.Hour, Capacity: 1_000_000})
	if err != nil {
		return err
	}
	for batch := range uint64(50) { // so that the pools are full and the tables have their size
		if err := admit(e, batch); err != nil {
			return err
		}
	}
	if err := coverage.ClearCounters(); err != nil {
		return err
	}
	if err := admit(e, 50); err != nil {
		return err
	}
	if err := coverage.WriteCountersDir(out); err != nil {
		return err
	}
	if err := coverage.WriteMetaDir(out); err != nil {
		return err
	}
	return e.Close()
}

func admit(e *engine.Engine, batch uint64) error {
	keys := make([][]byte, 1000)
	for i := range keys {
		keys[i] = binary.BigEndian.AppendUint64(make([]byte, 8, 16), batch*1000+uint64(i))
	}
	_, err := e.AdmitBatch(context.Background(), nil, keys)
	return err
}
