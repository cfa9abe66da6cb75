// Dedupbench measures the engine beside what one would use instead, and checks
// every answer.
//
// Without arguments it makes a short comparison that ends within a minute. See
// dedupbench help for the rest; everything that measures lies in package bench.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// errFailed: something was measured and isn't as it should be; what, has been
// printed.
var errFailed = errors.New("failed")

// errUsage: the command line makes no sense.
var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal ends the measurement in order, the next one everything.
	context.AfterFunc(ctx, stop)
	err := newRoot().ExecuteContext(ctx)
	stop()
	switch {
	case err == nil:
	case errors.Is(err, errFailed):
		os.Exit(1)
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "dedupbench:", err)
		os.Exit(1)
	}
}
