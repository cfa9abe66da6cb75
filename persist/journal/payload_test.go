package journal

import "testing"

// TestPayloads: what frames of the engine's own kinds hold is read back, and no other
// frame passes for one of them.
func TestPayloads(t *testing.T) {
	f := Rotation(7, 100, 90)
	if start, end, ok := f.Rotation(); start != 100 || end != 90 || !ok || f.Generation != 7 || f.Time != 100 {
		t.Errorf("%+v gives %d, %d, %v", f, start, end, ok)
	}
	if got, want := RotationSpace(2), 2*FrameSpace(len(f.Payload)); got != want {
		t.Errorf("two rotations take %d, want %d", got, want)
	}
	r := ResultsWritten{ID: 1, Seq: 2, Sum: 3, Count: 4}
	g := r.Frame(8, 110)
	if got, ok := g.Results(); got != r || !ok || g.Generation != 8 || g.Time != 110 {
		t.Errorf("%+v gives %+v, %v", g, got, ok)
	}
	if got, want := ResultsSpace(), FrameSpace(len(g.Payload)); got != want {
		t.Errorf("results take %d, want %d", got, want)
	}
	for _, other := range []*Frame{{Kind: KindMark, Payload: f.Payload}, {Kind: KindRotate, Payload: f.Payload[1:]}, g} {
		if _, _, ok := other.Rotation(); ok {
			t.Errorf("%+v passes for a rotation", other)
		}
	}
	for _, other := range []*Frame{{Kind: KindMark, Payload: g.Payload}, {Kind: KindResults, Payload: g.Payload[1:]}, f} {
		if _, ok := other.Results(); ok {
			t.Errorf("%+v passes for results", other)
		}
	}
}
