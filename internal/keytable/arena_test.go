package keytable

import (
	"strings"
	"testing"
)

func TestArena(t *testing.T) {
	a := newArena(testRegion(t, arenaBytes(0)))
	var places []uint64
	var want []string
	for i := 0; a.room(1); i++ {
		record := strings.Repeat(string(rune('a'+i%26)), i%256)
		places = append(places, a.add([]byte(record)))
		want = append(want, record)
	}
	if len(places) < MaxInsert {
		t.Fatalf("%d records fit an empty arena, a part has %d", len(places), MaxInsert)
	}
	for i, p := range places {
		if p == 0 {
			t.Fatal("a record has place 0, which is no place")
		}
		if got := string(a.record(p)); got != want[i] || !a.equal(p, []byte(want[i])) {
			t.Fatalf("record %d is %q, want %q", i, got, want[i])
		}
		if a.equal(p, []byte(want[i]+"x")) || len(want[i]) > 0 && a.equal(p, []byte(want[i][1:])) {
			t.Fatalf("record %d equals another", i)
		}
	}
}
