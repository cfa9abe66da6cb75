package engine

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestLinkedModules: who embeds the engine gets these modules, what they bring,
// and no other.
func TestLinkedModules(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	allowed := modulesOf(t, "github.com/dgraph-io/badger/v4", "github.com/bits-and-blooms/bloom/v3", "github.com/cespare/xxhash/v2", "golang.org/x/sys/unix")
	linked := modulesOf(t, "github.com/firstseen/firstseen/engine")
	if !slices.Contains(linked, "github.com/dgraph-io/badger/v4") {
		t.Fatalf("only %v are linked: the test shows nothing", linked)
	}
	for _, m := range linked {
		if !slices.Contains(allowed, m) && m != "github.com/firstseen/firstseen" {
			t.Errorf("the engine links %s", m)
		}
	}
}

func modulesOf(t *testing.T, packages ...string) (modules []string) {
	t.Helper()
	args := append([]string{"list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}"}, packages...)
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	modules = strings.Fields(string(out))
	slices.Sort(modules)
	return slices.Compact(modules)
}
