package killtest

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/firstseen/firstseen/adapters/intents"
	"github.com/firstseen/firstseen/engine"
)

// What a child process is told by its environment.
const (
	frontEnv   = "FIRSTSEEN_KILLTEST_FRONT" // a Front's name
	dirEnv     = "FIRSTSEEN_KILLTEST_DIR"
	intentsEnv = "FIRSTSEEN_KILLTEST_INTENTS" // not empty: they are kept
)

// Main runs the tests of a package, or in a child process one of the fronts until
// the process is killed. It returns the exit code.
func Main(m interface{ Run() int }, fronts ...Front) int {
	name := os.Getenv(frontEnv)
	if name == "" {
		return m.Run()
	}
	err := fmt.Errorf("TestMain gave Main no front with the name %q", name)
	for _, f := range fronts {
		if f.Name == name {
			err = f.child(os.Getenv(dirEnv), os.Getenv(intentsEnv) != "")
		}
	}
	fmt.Fprintln(os.Stderr, "killtest: child:", err)
	return 1
}

// child serves until it is killed, or until its parent is gone.
func (f Front) child(dir string, withIntents bool) error {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	guard, err := engine.Open(filepath.Join(dir, "keys"), engine.Options{
		Window: time.Hour, Lease: time.Second, MaxResult: 4096, MinFreeDisk: -1,
	})
	if err != nil {
		return err
	}
	var store intents.Store // an interface that is nil where none are kept
	if withIntents {
		if store, err = intents.Open(filepath.Join(dir, "intents")); err != nil {
			return err
		}
	}
	ledger, err := os.OpenFile(filepath.Join(dir, "ledger"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(os.Stdout, l.Addr()); err != nil {
		return err
	}
	return f.Serve(l, guard, store, func(key string) string { return handle(ledger, key) })
}

// handle has a key's effect, a line in a file that outlives the process. Most of
// its time lies before and behind the effect, so that is where kills come.
func handle(ledger io.Writer, key string) (answer string) {
	pause := func() { <-time.After(time.Duration(rand.IntN(20)) * time.Millisecond) }
	pause()
	if _, err := fmt.Fprintln(ledger, key); err != nil {
		panic(err)
	}
	pause()
	return fmt.Sprintf("done %s %d", key, rand.Uint64())
}
