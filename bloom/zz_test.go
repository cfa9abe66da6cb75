package bloom
import ("testing";"math/rand/v2";"time";"sort";"fmt";"os")
func minTime(keys int, f func()) string {
	var ts []float64
	end:=time.Now().Add(1500*time.Millisecond)
	for time.Now().Before(end) { t:=time.Now(); f(); ts=append(ts,float64(time.Since(t).Nanoseconds())/float64(keys)) }
	sort.Float64s(ts)
	return fmt.Sprintf("min %.2f p10 %.2f p25 %.2f p50 %.2f", ts[0],ts[len(ts)/10],ts[len(ts)/4],ts[len(ts)/2])
}
func TestZZ(t *testing.T){
	if os.Getenv("ZZ")=="" {t.Skip()}
	for _,k:=range []int{5,6} {
	f,_ := New(Sliced, Config{Keys: 10000, BitsPerKey:24, Generations:8,Hashes:k})
	o:=make([]uint64,256); fillOrders(rand.New(rand.NewPCG(1,1)),o)
	for s:=range 8 { f.AddBatch(s,o[:200]) }
	m:=make([]uint8,256)
	t.Log(k,"maybe", minTime(256*4,func(){ for range 4 {f.MaybeBatch(m,o)} }))
	t.Log(k,"add", minTime(256*4,func(){ for range 4 {f.AddBatch(1,o)} }))
	t.Log(k,"single", minTime(100,func(){ for range 100 {f.Maybe(o[1])} }))
	}
}
func TestZZBig(t *testing.T){
	if os.Getenv("ZZ")=="" {t.Skip()}
	batches:=benchOrders()
	var b testing.B
	for _,kind:=range []Kind{Sliced,Compact} {
	filters := benchWindow(&b, kind, 100_000_000)
	m:=make([]uint8,256)
	i:=0
	for _,p:=range []bool{true,false}{
	t.Log(kind,"maybe prefetch",p, minTime(256*16,func(){ for range 16 {f:=filters[i%16];o:=batches[i%4096]; if p {f.Prefetch(o)};f.MaybeBatch(m,o);i++} }))
	}
	t.Log(kind,"add", minTime(256*16,func(){ for range 16 {f:=filters[i%16];o:=batches[i%4096]; f.Prefetch(o);f.AddBatch(i/16%8,o);i++} }))
	t.Log(kind,"maybe+add", minTime(256*16,func(){ for range 16 {f:=filters[i%16];o:=batches[i%4096]; f.Prefetch(o);f.MaybeBatch(m,o); f.AddBatch(i/16%8,o);i++} }))
	}
}
