package main

import (
	"errors"
	"fmt"

	"github.com/firstseen/firstseen/dedup"
)

// errSilent ends a command with its exit code and no message.
var errSilent = errors.New("silent")

// An exitError carries the exit code of a command that did not succeed.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usagef is an error in the command line: exit code 2 and a pointer to --help.
func usagef(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// answer writes a line to standard output.
func (a *app) answer(line string) error {
	if _, err := fmt.Fprintln(a.out, line); err != nil {
		return fmt.Errorf("the answer, %s, can't be written: %w", line, err)
	}
	return nil
}

// requireOutput refuses to print to a standard output that is closed.
func (a *app) requireOutput() error {
	if isClosed(a.out) {
		return errors.New("standard output is closed; '> /dev/null' is for output that nobody wants")
	}
	return nil
}

// explain adds to an error of the engine which directory it is about and what
// to do.
func explain(err error, dir string) error {
	var hint string
	switch {
	case err == nil:
		return nil
	case errors.Is(err, dedup.ErrLocked):
		hint = "another process has it open; wait until that ends, or give this one a directory of its own"
	case errors.Is(err, dedup.ErrIncompatible):
		hint = "use the version of firstseen that made it, or another directory"
	case errors.Is(err, dedup.ErrCorrupt):
		hint = fmt.Sprintf("'firstseen verify %s' lists all damage", dir)
	case errors.Is(err, dedup.ErrDiskFull):
		hint = "make room on its disk and run this again"
	case errors.Is(err, dedup.ErrFailed):
		hint = "find out why the disk refused, then run this again"
	default:
		return fmt.Errorf("directory %q: %w", dir, err)
	}
	return fmt.Errorf("directory %q: %w: %s", dir, err, hint)
}
