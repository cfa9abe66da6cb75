package engine

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// guardCalls sees to it that a panic in code of the caller's does no harm: that code is
// called with locks held, and by goroutines whose panic would end the process.
func (o *Options) guardCalls() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	} else {
		o.Logger = slog.New(guardedHandler{o.Logger.Handler()})
	}
	if o.Now == nil {
		o.Now = time.Now
		return
	}
	// Once: the clock is read by every call.
	now, logger, once := o.Now, o.Logger, new(sync.Once)
	o.Now = func() (t time.Time) {
		defer func() {
			if r := recover(); r != nil {
				t = time.Time{} // which the clock takes for none
				once.Do(func() { logger.Error("the clock panicked: time stands still meanwhile", "panic", fmt.Sprint(r)) })
			}
		}()
		return now()
	}
}

// guardedHandler drops what its handler panics at. It logs none of it: there is nowhere else to
// log to. Where WithAttrs or WithGroup panics the handler stays without them.
type guardedHandler struct{ slog.Handler }

func (h guardedHandler) Enabled(ctx context.Context, level slog.Level) (on bool) {
	defer func() { _ = recover() }()
	return h.Handler.Enabled(ctx, level)
}

func (h guardedHandler) Handle(ctx context.Context, r slog.Record) (err error) {
	defer func() { _ = recover() }()
	return h.Handler.Handle(ctx, r)
}

func (h guardedHandler) WithAttrs(attrs []slog.Attr) (out slog.Handler) {
	out = h
	defer func() { _ = recover() }()
	return guardedHandler{h.Handler.WithAttrs(attrs)}
}

func (h guardedHandler) WithGroup(name string) (out slog.Handler) {
	out = h
	defer func() { _ = recover() }()
	return guardedHandler{h.Handler.WithGroup(name)}
}
