package engine

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/firstseen/firstseen/dedup"
)

// The fault suite: faults_*_test.go. Each part is a function that puts the engine
// through bad days and complains to a faultPart. That it would see a wrong line is
// shown by internal/sabotage, which runs it with one.
//
//	FIRSTSEEN_FAULTS=long             the full numbers of cycles (hours)
//	FIRSTSEEN_FAULTS_JSON=file        the figures, beside the table that is printed
//	FIRSTSEEN_REQUIRE_SERVERS=1       what can't be run here is a failure, not a skip
const (
	envFaults  = "FIRSTSEEN_FAULTS"
	envJSON    = "FIRSTSEEN_FAULTS_JSON"
	envRequire = "FIRSTSEEN_REQUIRE_SERVERS"
)

// faultScale is how often something is done: in the short form and in the long.
func faultScale(short, long int) int {
	if os.Getenv(envFaults) == "long" {
		return long
	}
	return short
}

// faultSkip says loudly that a part can't be run here.
func faultSkip(t *testing.T, format string, args ...any) {
	t.Helper()
	faultFigures.add(t.Name(), "skipped: "+fmt.Sprintf(format, args...), 1)
	if os.Getenv(envRequire) != "" {
		t.Fatalf("can't run: "+format, args...)
	}
	t.Skipf("SKIPPED, not shown here: "+format, args...)
}

// faultPart is one run of a part.
type faultPart struct {
	t    *testing.T
	name string
	mu   struct {
		sync.Mutex
		figures map[string]int64
		fails   []string
	}
}

type faultStop struct{} // what a part panics with to end early

// count adds to a figure of the part.
func (p *faultPart) count(what string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.figures[what] += int64(n)
}

// errorf notes that the promise was broken.
func (p *faultPart) errorf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.mu.fails) < 20 {
		p.mu.fails = append(p.mu.fails, fmt.Sprintf(format, args...))
	}
}

// fatalf is errorf and the end of the part. Only for its own goroutine.
func (p *faultPart) fatalf(format string, args ...any) {
	p.errorf(format, args...)
	panic(faultStop{})
}

// done reports whether the part has seen enough: with -failfast that is one broken
// promise.
func (p *faultPart) done() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.mu.fails) > 0 && flag.Lookup("test.failfast").Value.String() == "true"
}

func (p *faultPart) run(body func(p *faultPart)) {
	p.mu.figures = map[string]int64{}
	defer func() {
		if r := recover(); r != nil && r != (faultStop{}) {
			panic(r)
		}
	}()
	body(p)
}

// runFaults runs a part and reports what it saw.
func runFaults(t *testing.T, body func(p *faultPart)) {
	t.Helper()
	p := &faultPart{t: t, name: strings.TrimPrefix(t.Name(), "TestFaults")}
	p.run(body)
	for _, f := range p.mu.fails {
		t.Error(f)
	}
	for what, n := range p.mu.figures {
		faultFigures.add(p.name, what, n)
	}
	faultFigures.add(p.name, "broken promises", int64(len(p.mu.fails)))
}

// figures are what the suite prints at its end.
type figures struct {
	mu  sync.Mutex
	all map[string]map[string]int64
}

var faultFigures = figures{all: map[string]map[string]int64{}}

func (f *figures) add(part, what string, n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all[part] == nil {
		f.all[part] = map[string]int64{}
	}
	f.all[part][what] += n
}

// print writes the table, and the JSON where asked for.
func (f *figures) print() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.all) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FAULT\tFIGURE\tNUMBER")
	for _, part := range sortedKeys(f.all) {
		for _, what := range sortedKeys(f.all[part]) {
			fmt.Fprintf(w, "%s\t%s\t%d\n", part, what, f.all[part][what])
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	path := os.Getenv(envJSON)
	if path == "" {
		return nil
	}
	b, err := json.MarshalIndent(f.all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

func sortedKeys[V any](m map[string]V) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// faultKey is the n-th key of a family: 16 bytes, or of another form for some.
func faultKey(n uint64) []byte {
	switch n % 8 {
	case 5:
		return fmt.Appendf(nil, "%08x-0000-4000-8000-%012x", uint32(n), n)
	case 6:
		return fmt.Appendf(nil, "key %d", n)
	case 7:
		return []byte(strings.Repeat(fmt.Sprintf("%016d", n), 17))
	}
	k := make([]byte, 16)
	binary.LittleEndian.PutUint64(k, n)
	binary.BigEndian.PutUint64(k[8:], n*0x9e3779b97f4a7c15)
	return k
}

func faultKeys(from, n uint64) [][]byte {
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = faultKey(from + uint64(i))
	}
	return keys
}

// checkKeys asks for keys without marking them: those that were marked must be
// known or their place be reported as damaged, the others must not be called
// marked. It returns how many were found.
func (p *faultPart) checkKeys(e *Engine, what string, marked, others [][]byte) (found int) {
	for i, keys := range [][][]byte{marked, others} {
		for n, key := range keys {
			ok, err := e.Contains(context.Background(), key)
			switch {
			case errors.Is(err, dedup.ErrCorrupt):
				p.count("answers that report damage", 1)
			case err != nil:
				p.errorf("%s: asking for key %d: %v", what, n, err)
				return found
			case ok && i == 1:
				p.errorf("%s: key %d is said to be marked, it never was", what, n)
				return found
			case !ok && i == 0:
				p.errorf("%s: key %d of %d was marked and is said to be new", what, n, len(keys))
				return found
			case ok:
				found++
			}
		}
	}
	return found
}
