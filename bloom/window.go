package bloom

// A Window is a filter that is used alone: keys go into the newest of its generations, a
// look-up asks all of them, and Rotate begins a new one in the place of the oldest. So a key
// is "maybe" from its Add on until as many rotations have passed as there are generations.
//
// A Window has no lock: calls must not overlap.
type Window struct {
	f    Filter
	live int
}

// NewWindow returns an empty window over a filter of the given kind and size, as [New] does.
func NewWindow(kind Kind, c Config) (*Window, error) {
	f, err := New(kind, c)
	if err != nil {
		return nil, err
	}
	return &Window{f: f}, nil
}

// Add puts the key of a hash into the newest generation. Hashes must be uniform over all
// bits but the lowest.
func (w *Window) Add(hash uint64) { w.f.Add(w.live, hash) }

// Maybe reports whether the key of a hash may have been added within the window; false is
// certain.
func (w *Window) Maybe(hash uint64) bool { return w.f.Maybe(hash) != 0 }

// Rotate begins a new generation; the oldest one is forgotten. It also clears its memory:
// 5 to 20 ms for each GB of the filter.
func (w *Window) Rotate() {
	w.live = (w.live + 1) % w.f.Generations()
	w.f.Reset(w.live)
	for w.f.ClearStep() {
	}
}

// Filter returns the filter below, for its size, rate and columns. Its live slot is Live.
func (w *Window) Filter() Filter { return w.f }

// Live returns the slot of the newest generation.
func (w *Window) Live() int { return w.live }

// Close frees the memory. No other call may follow it.
func (w *Window) Close() { w.f.Close() }
