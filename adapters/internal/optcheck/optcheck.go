// Package optcheck gives the options of adapters their defaults and collects what is
// wrong with them, so that one error names every problem. A Check belongs to one
// goroutine.
package optcheck

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// A Check collects problems. The zero value has none.
type Check struct{ problems []error }

// Badf notes a problem.
func (c *Check) Badf(format string, args ...any) {
	c.problems = append(c.problems, fmt.Errorf(format, args...))
}

// Text wants a value that is not empty.
func (c *Check) Text(name, v string) {
	if v == "" {
		c.Badf("%s is empty", name)
	}
}

// Number replaces 0 by the default and wants a positive number.
func Number[T int | int64 | time.Duration](c *Check, name string, v *T, def T) {
	if *v == 0 {
		*v = def
	}
	if *v < 0 {
		c.Badf("%s is %v, it must be positive", name, *v)
	}
}

// Logger replaces nil by slog's default.
func (c *Check) Logger(l **slog.Logger) {
	if *l == nil {
		*l = slog.Default()
	}
}

// Err returns all problems as one error, or nil.
func (c *Check) Err(pkg string) error {
	if len(c.problems) == 0 {
		return nil
	}
	return fmt.Errorf("%s: bad options: %w", pkg, errors.Join(c.problems...))
}
