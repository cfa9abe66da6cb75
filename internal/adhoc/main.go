package main

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"runtime/pprof"
	"runtime/trace"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
)

func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

func main() {
	n := flag.Int("n", 20_000_000, "")
	dup := flag.Float64("dup", 0.006, "")
	near := flag.Int("near", 0, "")
	batch := flag.Int("batch", 1000, "")
	callers := flag.Int("callers", 1, "")
	syn := flag.Int("sync", 1, "")
	trc := flag.String("trace", "", "")
	prof := flag.String("prof", "", "")
	dir := flag.String("dir", "/tmp/adhocdir", "")
	windowKeys := flag.Int("cap", 20_000_000, "")
	win := flag.Duration("window", time.Hour, "")
	klen := flag.Int("klen", 16, "")
	flag.Parse()
	os.RemoveAll(*dir)
	base0 := time.Now().Round(0)
	var ticks atomic.Int64
	step := float64(*win) / float64(*windowKeys)
	now := func() time.Time { return base0.Add(time.Duration(step * float64(ticks.Load()))) }
	e, err := engine.Open(*dir, engine.Options{Window: *win, Capacity: uint64(*windowKeys), Sync: engine.Sync(*syn), Now: now})
	if err != nil {
		panic(err)
	}
	if *prof != "" {
		f, _ := os.Create(*prof)
		pprof.StartCPUProfile(f)
		defer pprof.StopCPUProfile()
	}
	if *trc != "" {
		f, _ := os.Create(*trc)
		trace.Start(f)
		defer trace.Stop()
	}
	var wg sync.WaitGroup
	per := *n / *callers
	inCalls := make([]time.Duration, *callers)
	lats := make([][]time.Duration, *callers)
	start := time.Now()
	for c := range *callers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			base := uint64(c) << 40
			next := uint64(0)
			r := uint64(c + 1)
			store := make([]byte, *batch**klen)
			keys := make([][]byte, *batch)
			isDup := make([]bool, *batch)
			for i := range keys {
				keys[i] = store[i**klen : (i+1)**klen]
				for j := range keys[i] {
					keys[i][j] = 'x'
				}
			}
			var vs []dedup.Verdict
			thr := uint64(*dup * (1 << 32))
			bad := 0
			for done := 0; done < per; done += *batch {
				first := next
				for i := range keys {
					r += 0x9e3779b97f4a7c15
					x := mix(r)
					id := next
					isDup[i] = false
					if x>>32 < thr && first > 0 {
						w := first
						if *near > 0 && uint64(*near) < w {
							w = uint64(*near)
						}
						id = first - 1 - mix(x)%w
						isDup[i] = true
					} else {
						next++
					}
					binary.LittleEndian.PutUint64(keys[i], mix(base+id))
					binary.LittleEndian.PutUint64(keys[i][8:], base+id)
				}
				ticks.Add(int64(*batch))
				t0 := time.Now()
				vs, err = e.AdmitBatch(context.Background(), vs[:0], keys)
				d := time.Since(t0)
				inCalls[c] += d
				lats[c] = append(lats[c], d)
				if err != nil {
					panic(err)
				}
				for i, v := range vs {
					if (v == dedup.Duplicate) != isDup[i] {
						bad++
					}
				}
			}
			if bad > 0 {
				fmt.Println("BAD", bad)
			}
		}()
	}
	wg.Wait()
	wall := time.Since(start)
	var all []time.Duration
	var tot time.Duration
	for c := range lats {
		all = append(all, lats[c]...)
		tot += inCalls[c]
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	q := func(f float64) time.Duration { return all[min(len(all)-1, int(f*float64(len(all))))] }
	fmt.Printf("in calls %.2f M/s  wall %.2f M/s  p50 %v p99 %v p99.9 %v max %v\n", float64(*n)/(float64(tot)/float64(*callers))*1e3, float64(*n)/float64(wall)*1e3, q(.5), q(.99), q(.999), all[len(all)-1])
	s := e.Stats()
	fmt.Printf("lookups %+v\nflush %+v mem %d MB journal %+v gens %d runs %d cap %d growths %d\n", s.Lookups, s.Flush, s.MemoryBytes>>20, s.Journal, len(s.Generations), s.Generations[0].Runs, s.Filter.Capacity, s.Filter.Growths)
	t0 := time.Now()
	e.Close()
	fmt.Println("close", time.Since(t0))
	t0 = time.Now()
	e, err = engine.Open(*dir, engine.Options{Window: *win, Capacity: uint64(*windowKeys), Sync: engine.Sync(*syn), Now: now})
	if err != nil {
		panic(err)
	}
	fmt.Println("open", time.Since(t0), e.Stats().Recovery)
	e.Close()
	os.RemoveAll(*dir)
}
