package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

// Exit codes. After a signal it is signalBase and the signal's number.
const (
	exitFailed = 1
	exitUsage  = 2
	// exitUnanswered is for a question that has yes and no as 0 and 1.
	exitUnanswered = 2
	signalBase     = 128
)

// app is what the commands share: the three streams, and what a signal needs.
type app struct {
	in, out, err *os.File
	sig          atomic.Int32           // the signal that ended the context, 0 for none
	temp         atomic.Pointer[string] // a directory to remove when the second signal ends the process
}

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	a.watchSignals(cancel)

	root := newRoot(a)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	code := a.exitCode(err)
	switch {
	case err == nil || errors.Is(err, errSilent):
	case code > signalBase:
		fmt.Fprintln(a.err, "firstseen: stopped by a signal")
	case code == exitUsage:
		fmt.Fprintf(a.err, "firstseen: %v\nSee '%s --help'.\n", err, cmd.CommandPath())
	default:
		fmt.Fprintf(a.err, "firstseen: %v\n", err)
	}
	return code
}

// exitCode turns the result of a command into the exit code.
func (a *app) exitCode(err error) int {
	var exit *exitError
	switch {
	case errors.As(err, &exit):
		return exit.code
	case a.sig.Load() != 0 && errors.Is(err, context.Canceled):
		return signalBase + int(a.sig.Load())
	case err != nil:
		return exitFailed
	}
	return 0
}

// watchSignals starts the goroutine that waits for signals; it ends with the
// process. The first signal ends the context, so that a command can come to an
// orderly end. The second one ends the process, since what the command waits
// for, such as a reader that takes nothing, may never come.
func (a *app) watchSignals(cancel context.CancelFunc) {
	// A write to a closed pipe gives EPIPE instead of ending the process: there
	// is a directory to close or to remove.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 2)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) { // as nohup has it, and a shell for what runs in the background
			signal.Notify(signals, s)
		}
	}
	go func() {
		n, _ := (<-signals).(syscall.Signal)
		a.sig.Store(int32(n))
		cancel()
		n, _ = (<-signals).(syscall.Signal)
		if dir := a.temp.Load(); dir != nil {
			_ = removeRunning(*dir)
		}
		os.Exit(signalBase + int(n))
	}()
}
