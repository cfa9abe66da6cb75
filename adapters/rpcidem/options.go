package rpcidem

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/firstseen/firstseen/adapters/intents"
	"github.com/firstseen/firstseen/adapters/internal/optcheck"
)

// Defaults of Options.
const (
	// DefaultHeader is the name of the metadata that carries the key.
	DefaultHeader = "idempotency-key"

	defaultMaxKeyLen  = 255
	mostMaxKeyLen     = 4096
	defaultMaxAnswer  = 64 << 10
	defaultCallLimit  = 5 * time.Second
	defaultRetryAfter = time.Second
)

// Options configure a server. The zero value of every field is the safe default.
type Options struct {
	// Header is the name of the metadata with the key. Default idempotency-key.
	Header string
	// Required refuses calls without a key. Default: they pass untouched, and
	// their retries run again.
	Required bool
	// MaxKeyLen is the length in bytes of the longest key accepted, up to 4096.
	// Default 255.
	MaxKeyLen int
	// Scope names whose keys these are: two calls with equal keys and different
	// scopes have nothing to do with each other. Default ByCaller. A call whose
	// scope is "" is refused, since keys of all callers would be one.
	Scope func(context.Context, *Call) string
	// Storable says which codes are final, so that the answer is stored and
	// replayed. After another one the key is free again. Default Storable.
	Storable func(codes.Code) bool
	// MaxAnswer is the longest answer in bytes that is stored, at most what the
	// guard keeps as a result. A longer one is passed on and marked as too large:
	// its retries are told so. Default 64 KiB.
	MaxAnswer int
	// Headers are the names of response metadata, headers and trailers, that are
	// stored with an answer. Default none.
	Headers []string
	// Wait is how long a call waits for a twin that is still running. Default 0:
	// it is told to come again at once.
	Wait time.Duration
	// RetryAfter is the longest pause that RetryInfo advises while a twin is
	// running; it is less where the twin's lease ends sooner. A longer pause saves
	// the guard questions, and the client attempts, where handlers take long.
	// Default 1 s.
	RetryAfter time.Duration
	// CallLimit bounds each call of the guard, since those go on after the client
	// has hung up. Default 5 s.
	CallLimit time.Duration
	// Unguarded runs the handler without any protection when the guard can't be
	// asked, and says so with idempotency-unguarded: true. Default: UNAVAILABLE.
	Unguarded bool
	// Intents, where set, makes every begin of a handler durable before it runs
	// (DurableIntent): a call whose handler was running when the process died is
	// never run again by itself. Default nil: it is run again.
	//
	// An outcome's answer is Status 200 and the encoded message as its Body, with
	// the message's full name as the ContentType. With any other Status replays
	// are told that the answer is not there.
	Intents intents.Store
	// Settle, where set, is asked about an intent that is in doubt before the
	// client is told so. It must be safe for concurrent use.
	Settle func(context.Context, *Call, intents.Intent) (intents.Outcome, error)
	// Logger gets what an operator should know. Default: none.
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	var c optcheck.Check
	if o.Header == "" {
		o.Header = DefaultHeader
	}
	if o.MaxKeyLen == 0 {
		o.MaxKeyLen = defaultMaxKeyLen
	}
	if o.MaxKeyLen < 1 || o.MaxKeyLen > mostMaxKeyLen {
		c.Badf("MaxKeyLen is %d, it must be from 1 to %d", o.MaxKeyLen, mostMaxKeyLen)
	}
	if o.Scope == nil {
		o.Scope = ByCaller
	}
	if o.Storable == nil {
		o.Storable = Storable
	}
	optcheck.Number(&c, "MaxAnswer", &o.MaxAnswer, defaultMaxAnswer)
	if o.Wait < 0 {
		c.Badf("Wait is %v, it must not be negative", o.Wait)
	}
	optcheck.Number(&c, "RetryAfter", &o.RetryAfter, defaultRetryAfter)
	optcheck.Number(&c, "CallLimit", &o.CallLimit, defaultCallLimit)
	if o.Settle != nil && o.Intents == nil {
		c.Badf("Settle is set, but Intents is not")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Logger = o.Logger.With("adapter", "rpcidem")
	return o, c.Err("rpcidem")
}

// Storable is the default of Options.Storable: OK is final, and so are the errors
// that another try can't change. CANCELED, UNKNOWN, DEADLINE_EXCEEDED,
// RESOURCE_EXHAUSTED, ABORTED, INTERNAL and UNAVAILABLE are not.
func Storable(c codes.Code) bool {
	switch c {
	case codes.Canceled, codes.Unknown, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted, codes.Internal, codes.Unavailable:
		return false
	}
	return c <= codes.Unauthenticated
}
