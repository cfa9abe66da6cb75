package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/firstseen/firstseen/engine"
)

func cpu() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func main() {
	os.RemoveAll("/tmp/adhoc2dir")
	e, err := engine.Open("/tmp/adhoc2dir", engine.Options{Window: time.Hour, Capacity: 20_000_000, Sync: engine.SyncInterval})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	key := make([]byte, 16)
	f, _ := os.Create("/tmp/adhoc/p2")
	pprof.StartCPUProfile(f)
	c0, t0 := cpu(), time.Now()
	const n = 3_000_000
	for i := uint64(0); i < n; i++ {
		binary.LittleEndian.PutUint64(key, i*0x9e3779b97f4a7c15)
		binary.LittleEndian.PutUint64(key[8:], i)
		if _, err := e.Admit(ctx, key); err != nil {
			panic(err)
		}
	}
	fmt.Println("cpu/op", (cpu()-c0)/n, "wall/op", time.Since(t0)/n)
	pprof.StopCPUProfile()
	e.Close()
}
