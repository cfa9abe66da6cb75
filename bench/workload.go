package bench

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/firstseen/firstseen/internal/hash/hashtest"
)

// Spread says which earlier keys the duplicates repeat.
type Spread string

const (
	// Uniform repeats any key of the window with equal chance.
	Uniform Spread = "uniform"
	// Near repeats one of the last NearKeys keys.
	Near Spread = "near"
	// Zipf draws every message from a fixed population with the chance of rank r
	// in proportion to 1/r; the share of duplicates follows from that.
	Zipf Spread = "zipf"
	// Expired sends keys that have left the window: they must be fresh again.
	Expired Spread = "expired"
)

// NearKeys is how far back Near reaches, in keys of one goroutine.
const NearKeys = 1_000_000

// KeyKind is the form of the keys.
type KeyKind string

// Kinds of keys.
const (
	Raw16    KeyKind = "raw16"    // 16 bytes without structure
	UUID     KeyKind = "uuid"     // UUID version 4 as 36 characters
	Raw36    KeyKind = "raw36"    // 36 bytes without structure
	Variable KeyKind = "variable" // 8 to 71 bytes without structure
	Hostile  KeyKind = "hostile"  // 24 bytes; four each have the same XXH64 under every seed
)

// A Workload says which keys come in which order. The zero value of a field
// means no duplicates, Uniform and Raw16.
type Workload struct {
	Duplicates float64 `json:"duplicates"` // share of repeated messages, 0 to 1 (Expired: share of expired keys)
	Spread     Spread  `json:"spread"`
	Kind       KeyKind `json:"kind"`
	// Burst sends a window's messages in a hundredth of it, all within one generation: a
	// backlog after an outage, a restore.
	Burst bool `json:"burst,omitempty"`
}

// burstFactor is how much longer than its messages a window of a burst is.
const burstFactor = 100

// workloads are the named ones, in the order in which reports show them.
var workloads = []struct {
	name string
	w    Workload
}{
	{"unique", Workload{Duplicates: 0, Spread: Uniform, Kind: Raw16}},
	{"segment", Workload{Duplicates: 0.006, Spread: Uniform, Kind: Raw16}},
	{"dup10", Workload{Duplicates: 0.10, Spread: Uniform, Kind: Raw16}},
	{"dup50-near", Workload{Duplicates: 0.50, Spread: Near, Kind: Raw16}},
	{"dup50", Workload{Duplicates: 0.50, Spread: Uniform, Kind: Raw16}},
	{"zipf", Workload{Duplicates: 0, Spread: Zipf, Kind: Raw16}},
	{"burst", Workload{Duplicates: 0.006, Spread: Uniform, Kind: Raw16, Burst: true}},
	{"expired", Workload{Duplicates: 0.20, Spread: Expired, Kind: Raw16}},
	{"uuid", Workload{Duplicates: 0.006, Spread: Uniform, Kind: UUID}},
	{"raw36", Workload{Duplicates: 0.006, Spread: Uniform, Kind: Raw36}},
	{"variable", Workload{Duplicates: 0.006, Spread: Uniform, Kind: Variable}},
	{"hostile", Workload{Duplicates: 0.006, Spread: Uniform, Kind: Hostile}},
}

// WorkloadNames lists the names that ParseWorkload knows.
func WorkloadNames() []string {
	names := make([]string, len(workloads))
	for i, w := range workloads {
		names[i] = w.name
	}
	return names
}

// ParseWorkload reads a name, or parts like "dup=0.1,spread=near,kind=uuid".
func ParseWorkload(s string) (Workload, error) {
	for _, w := range workloads {
		if w.name == s {
			return w.w, nil
		}
	}
	w := Workload{Spread: Uniform, Kind: Raw16}
	for part := range strings.SplitSeq(s, ",") {
		key, value, ok := strings.Cut(part, "=")
		switch {
		case ok && key == "dup":
			d, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return w, fmt.Errorf("bench: workload %q: duplicates: %w", s, err)
			}
			w.Duplicates = d
		case ok && key == "spread":
			w.Spread = Spread(value)
		case ok && key == "kind":
			w.Kind = KeyKind(value)
		case ok && key == "burst":
			burst, err := strconv.ParseBool(value)
			if err != nil {
				return w, fmt.Errorf("bench: workload %q: burst: %w", s, err)
			}
			w.Burst = burst
		default:
			return w, fmt.Errorf("bench: no workload %q: give one of %s, or dup=…,spread=…,kind=…,burst=true",
				s, strings.Join(WorkloadNames(), ", "))
		}
	}
	return w, w.check()
}

func (w Workload) check() error {
	if !(w.Duplicates >= 0 && w.Duplicates < 1) {
		return fmt.Errorf("bench: share of duplicates is %v, it must be from 0 to below 1", w.Duplicates)
	}
	if w.Burst && w.Spread == Expired {
		return errors.New("bench: nothing expires within a burst")
	}
	switch w.Spread {
	case Uniform, Near, Zipf, Expired:
	default:
		return fmt.Errorf("bench: no spread %q: uniform, near, zipf or expired", w.Spread)
	}
	switch w.Kind {
	case Raw16, UUID, Raw36, Variable, Hostile:
	default:
		return fmt.Errorf("bench: no kind of keys %q: raw16, uuid, raw36, variable or hostile", w.Kind)
	}
	return nil
}

func (w Workload) withDefaults() Workload {
	if w.Spread == "" {
		w.Spread = Uniform
	}
	if w.Kind == "" {
		w.Kind = Raw16
	}
	return w
}

// String returns the name, or the parts in the form of ParseWorkload.
func (w Workload) String() string {
	for _, known := range workloads {
		if known.w == w {
			return known.name
		}
	}
	parts := fmt.Sprintf("dup=%v,spread=%s,kind=%s", w.Duplicates, w.Spread, w.Kind)
	if w.Burst {
		parts += ",burst=true"
	}
	return parts
}

// windowOf is how long a window of so many messages lasts on the workload's clock.
func (w Workload) windowOf(messages uint64) time.Duration {
	if w.Burst {
		messages *= burstFactor
	}
	return windowOf(messages)
}

// keyBytes is what the usual key's length counts as for an engine.
func (w Workload) keyBytes() int {
	switch w.Kind {
	case Raw36:
		return 36
	case Variable:
		return (variableMin + variableMax) / 2
	case Hostile:
		return hashtest.FourLen
	}
	return 16
}

// needsExpiry reports whether the answers are right only for candidates that
// forget by the workload's clock.
func (w Workload) needsExpiry() bool { return w.Spread == Expired }
