package bench

import (
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/firstseen/firstseen/bloom"
)

// A PlanConfig describes a stream for which an engine is to be sized.
type PlanConfig struct {
	Rate       float64       // messages per second, on average
	Window     time.Duration // how long a key is remembered
	KeyBytes   int           // average length of a key; 16-byte keys, UUID and ULID texts are all 16
	Duplicates float64       // share of messages that repeat a key of the window, 0 to 1
	MaybeRate  float64       // share of fresh keys that may be looked up in the store; default 0.01
}

// A Plan is what an engine takes for such a stream.
type Plan struct {
	Keys        float64       `json:"keys"`      // different keys in a full window: the engine's Capacity
	KeyBytes    int           `json:"key_bytes"` // the engine's KeyBytes
	Generations int           `json:"generations"`
	Span        time.Duration `json:"span_ns"`
	BitsPerKey  float64       `json:"bits_per_key"`
	Maybe       float64       `json:"maybe_rate"`
	FilterBytes float64       `json:"filter_bytes"`
	TableBytes  float64       `json:"table_bytes"` // unflushed keys
	IndexBytes  float64       `json:"index_bytes"` // of the runs' blocks
	BaseBytes   float64       `json:"base_bytes"`
	Memory      float64       `json:"memory_bytes"`
	Ring        float64       `json:"ring_bytes"`
	Disk        float64       `json:"disk_bytes"` // runs of a window and one generation, ring included
	DiskWrites  float64       `json:"disk_bytes_per_second"`
	LookUps     float64       `json:"look_ups_per_second"`
	Cores       float64       `json:"cores"`
}

// What a Plan assumes, from the measurements that docs/performance.md and this package's
// reports repeat.
const (
	planGenerations  = 8
	planUnflushed    = 4e6  // keys in memory before they become runs
	planTableKey     = 24.0 // bytes of an unflushed key in its table, the index included
	planTableRecord  = 16.0 // bytes of a 16-byte key in memory and in the journal
	planRunRecord    = 14.0 // and in a run
	planArena        = 48.0 // a longer key's room in memory; full of longer ones, tables are flushed early
	planOverhead     = 0.5  // bytes per key of block checksums and index
	planBlockKeys    = 16.0
	planIndexEntry   = 4.0   // bytes a block
	planBase         = 250e6 // Badger, buffers, Go's collector
	planKeyNanos     = 200.0 // of one core: hash, filter, table, journal 120, flush and upkeep 80
	planLongNanos    = 150.0 // more for keys that aren't 16 bytes
	planConfirmNanos = 150.0 // a look-up in a run that lies in the page cache
	planRingFactor   = 4.0   // ring bytes over those of the keys of one set of full tables
	planFilterSpread = 1.05  // shards are never equally full
)

// NewPlan sizes an engine, or names all that is wrong with c.
func NewPlan(c PlanConfig) (Plan, error) {
	var problems []error
	if !(c.Rate > 0) || math.IsInf(c.Rate, 0) {
		problems = append(problems, fmt.Errorf("rate is %v messages per second, it must be positive", c.Rate))
	}
	if c.Window <= 0 {
		problems = append(problems, fmt.Errorf("window is %v, it must be positive", c.Window))
	}
	if c.KeyBytes < 1 || c.KeyBytes > 65535 {
		problems = append(problems, fmt.Errorf("key bytes are %d, it must be from 1 to 65535", c.KeyBytes))
	}
	if !(c.Duplicates >= 0 && c.Duplicates <= 1) {
		problems = append(problems, fmt.Errorf("share of duplicates is %v, it must be from 0 to 1", c.Duplicates))
	}
	c.MaybeRate = orDefault(c.MaybeRate, 0.01)
	if !(c.MaybeRate > 0 && c.MaybeRate < 1) {
		problems = append(problems, fmt.Errorf("rate of maybes is %v, it must be between 0 and 1", c.MaybeRate))
	}
	if len(problems) > 0 {
		return Plan{}, fmt.Errorf("bench: can't plan: %w", errors.Join(problems...))
	}
	p := Plan{KeyBytes: c.KeyBytes, Generations: planGenerations, Span: c.Window / (planGenerations - 1)}
	fresh := c.Rate * (1 - c.Duplicates)
	p.Keys = fresh * c.Window.Seconds()
	bits, hashes, _ := bloom.Size(bloom.Sliced, uint64(max(1, p.Keys)), c.MaybeRate, planGenerations)
	p.BitsPerKey = bits
	p.Maybe = bloom.PredictRate(bloom.Sliced, bits, hashes, planGenerations)
	record := planRecord(c.KeyBytes)
	stored := record
	if c.KeyBytes == 16 {
		stored = planRunRecord
	}
	unflushed := min(planUnflushed, p.Keys)
	p.FilterBytes = p.Keys * bits / 8 * planFilterSpread
	p.TableBytes = unflushed * planTableKey
	if c.KeyBytes != 16 {
		p.TableBytes += unflushed * planArena
	}
	p.IndexBytes = p.Keys / planBlockKeys * planIndexEntry
	p.BaseBytes = planBase
	p.Memory = p.FilterBytes + p.TableBytes + p.IndexBytes + p.BaseBytes
	p.Ring = max(64e6, planRingFactor*unflushed*min(record, planArena))
	p.Disk = p.Keys*planGenerations/(planGenerations-1)*(stored+planOverhead) + p.Ring
	p.DiskWrites = fresh * (record + stored + planOverhead) // once to the journal, once into a run
	p.LookUps = fresh*p.Maybe + c.Rate*c.Duplicates
	nanos := planKeyNanos
	if c.KeyBytes != 16 {
		nanos += planLongNanos
	}
	p.Cores = (c.Rate*nanos + p.LookUps*planConfirmNanos) / 1e9
	return p, nil
}

// planRecord is what a key of n bytes takes in the journal; keys over 255 bytes are
// stored as a digest of 32.
func planRecord(n int) float64 {
	switch {
	case n == 16:
		return planTableRecord
	case n > 255:
		return 33
	}
	return float64(n) + 1
}

// WriteText prints the plan and what it assumes.
func (p *Plan) WriteText(w io.Writer) error {
	_, err := fmt.Fprintf(w, `keys in a full window   %s
generations             %d, one every %v
filter                  %s (%s bits per key, %s of fresh keys are looked up)
memory                  %s: filter %s, unflushed keys %s, block index %s, rest %s
disk                    %s, of which the journal's ring %s
disk writes             %s a second
look-ups in the store   %s a second
cores                   %s

Assumed: an even stream of that rate; duplicates all over the window; a quarter of a microsecond or less a look-up, which
means that the runs that duplicates fall into lie in the page cache (%s for all of them; else a look-up costs a
read of the disk); 4 million keys unflushed;
a directory made with a Capacity of %s and KeyBytes %d;
figures a key as measured on two cores of a current server, %v ns a 16-byte key. Keys of other forms than 16 bytes,
UUID or ULID text cost %v ns more. Double the cores for a stream with peaks, and measure: dedupbench run.
`,
		short(p.Keys), p.Generations, p.Span.Round(time.Millisecond),
		size(int64(p.FilterBytes)), three(p.BitsPerKey), share(p.Maybe),
		size(int64(p.Memory)), size(int64(p.FilterBytes)), size(int64(p.TableBytes)), size(int64(p.IndexBytes)), size(int64(p.BaseBytes)),
		size(int64(p.Disk)), size(int64(p.Ring)), size(int64(p.DiskWrites)), short(p.LookUps), three(p.Cores),
		size(int64(p.Disk-p.Ring)), short(p.Keys), p.KeyBytes, planKeyNanos, planLongNanos)
	return err
}
