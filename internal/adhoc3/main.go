package main

import (
	"fmt"
	"math/rand/v2"
	"time"
	"unsafe"

	"github.com/firstseen/firstseen/internal/mem"
	"github.com/firstseen/firstseen/internal/prefetch"
)

func main() {
	for _, mb := range []int{4, 16, 64, 128, 512} {
		r, _ := mem.Alloc(mb << 20)
		r.Touch()
		w := r.Uint64s()
		for i := range w {
			w[i] = uint64(i)
		}
		n := uint64(len(w) / 8)
		const batch = 1000
		orders := make([]uint64, batch)
		var s uint64
		run := func(name string, pf bool, split int) {
			best := time.Hour
			for rep := 0; rep < 5; rep++ {
				var tot time.Duration
				for k := 0; k < 500; k++ {
					for i := range orders {
						orders[i] = rand.Uint64()
					}
					t0 := time.Now()
					for a := 0; a < batch; a += split {
						if pf {
							prefetch.Scaled(unsafe.Pointer(&w[0]), n, 6, orders[a:a+split])
						}
						for _, o := range orders[a : a+split] {
							s += w[(o>>32)*n>>32*8]
							if w[(o>>32)*n>>32*8]&64 == 0 {
								s++
							}
						}
					}
					tot += time.Since(t0)
				}
				best = min(best, tot/(500*batch/100))
			}
			fmt.Printf("%4d MB %-22s %5.1f ns\n", mb, name, float64(best)/100)
		}
		run("loads", false, batch)
		run("prefetch 1000", true, batch)
		run("prefetch 250", true, 250)
		run("prefetch 50", true, 50)
		_ = s
		r.Free()
	}
}
