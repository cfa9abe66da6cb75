package httpidem

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/firstseen/firstseen/adapters/intents"
	"github.com/firstseen/firstseen/adapters/internal/optcheck"
)

// Defaults of Options.
const (
	defaultMaxKeyLen  = 255
	defaultMaxBody    = 1 << 20
	defaultMaxAnswer  = 64 << 10
	defaultCallLimit  = 5 * time.Second
	defaultRetryAfter = time.Second
	maxIdempotencyKey = 4096 // what MaxKeyLen may be set to
)

// StoreDown says what becomes of a request when the guard can't be asked.
type StoreDown uint8

const (
	// Refuse answers 503 and does not run the handler.
	Refuse StoreDown = iota
	// LetThrough runs the handler without any protection, and says so with the
	// header Idempotency-Unguarded: true. It is counted.
	LetThrough
)

// Options configure the middleware. The zero value of every field is the safe
// default.
type Options struct {
	// Header is the name of the request header. Default Idempotency-Key.
	Header string
	// Methods are those that the middleware looks at; requests with another one
	// pass untouched. Default POST and PATCH.
	Methods []string
	// Required answers 400 to a request without a key. Default: it passes
	// untouched, and its retries run again.
	Required bool
	// MaxKeyLen is the length in bytes of the longest key accepted, up to 4096.
	// Longer ones get 400. Default 255.
	MaxKeyLen int
	// Scope names whose keys these are: two requests with equal keys and
	// different scopes have nothing to do with each other. Default ByCaller. A
	// scope of "" is answered with 400, since keys of all callers would be one.
	Scope func(*http.Request) string
	// Storable says which statuses are final, so that the answer is stored and
	// replayed. After another one the key is free again. Default: 2xx, 3xx and
	// 4xx but for 408, 409, 425 and 429.
	Storable func(status int) bool
	// MaxBody is the longest request body in bytes; a longer one gets 413. The
	// body is read before the handler runs, since its hash is part of the
	// fingerprint. Default 1 MiB.
	MaxBody int64
	// MaxAnswer is the longest answer in bytes that is stored, at most what the
	// guard keeps as a result. A longer one is passed on and marked as too large:
	// its replays get 409. Default 64 KiB.
	MaxAnswer int
	// Headers are the response headers that are stored with an answer. Default:
	// those that describe content, Location, ETag and Link. Never store headers
	// that belong to one connection or one client, such as Set-Cookie.
	Headers []string
	// Wait is how long a request waits for a twin that is still running. Default
	// 0: it gets 409 with Retry-After at once.
	Wait time.Duration
	// RetryAfter is the longest pause that Retry-After advises while a twin is
	// running; it is less where the twin's lease ends sooner. Most handlers end
	// within a second, and whole seconds are what the header has. A longer pause
	// saves the guard questions where handlers take long. Default 1 s.
	RetryAfter time.Duration
	// CallLimit bounds each call of the guard, since those go on after the client
	// has hung up. Default 5 s.
	CallLimit time.Duration
	// StoreDown is Refuse by default.
	StoreDown StoreDown
	// Intents, where set, makes every begin of a handler durable before it runs
	// (DurableIntent): a request whose handler was running when the process died
	// is never run again by itself. Default nil: it is run again.
	Intents intents.Store
	// Settle, where set, is asked about an intent that is in doubt before the
	// client is told so. It must be safe for concurrent use.
	Settle func(*http.Request, intents.Intent) (intents.Outcome, error)
	// Logger gets what an operator should know. Default: none.
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	var c optcheck.Check
	if o.Header == "" {
		o.Header = "Idempotency-Key"
	}
	if o.Methods == nil {
		o.Methods = []string{http.MethodPost, http.MethodPatch}
	}
	if o.MaxKeyLen == 0 {
		o.MaxKeyLen = defaultMaxKeyLen
	}
	if o.MaxKeyLen < 1 || o.MaxKeyLen > maxIdempotencyKey {
		c.Badf("MaxKeyLen is %d, it must be from 1 to %d", o.MaxKeyLen, maxIdempotencyKey)
	}
	if o.Scope == nil {
		o.Scope = ByCaller
	}
	if o.Storable == nil {
		o.Storable = Storable
	}
	optcheck.Number(&c, "MaxBody", &o.MaxBody, defaultMaxBody)
	optcheck.Number(&c, "MaxAnswer", &o.MaxAnswer, defaultMaxAnswer)
	if o.Headers == nil {
		o.Headers = storedHeaders
	}
	if o.Wait < 0 {
		c.Badf("Wait is %v, it must not be negative", o.Wait)
	}
	optcheck.Number(&c, "RetryAfter", &o.RetryAfter, defaultRetryAfter)
	optcheck.Number(&c, "CallLimit", &o.CallLimit, defaultCallLimit)
	if o.StoreDown > LetThrough {
		c.Badf("StoreDown is %d, it must be Refuse or LetThrough", o.StoreDown)
	}
	if o.Settle != nil && o.Intents == nil {
		c.Badf("Settle is set, but Intents is not")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Logger = o.Logger.With("adapter", "httpidem")
	return o, c.Err("httpidem")
}

var storedHeaders = []string{
	"Content-Type", "Content-Language", "Content-Encoding", "Content-Disposition", "Content-Location",
	"Location", "Etag", "Last-Modified", "Link", "Cache-Control", "Expires", "Vary",
}

// Storable is the default of Options.Storable: 2xx, 3xx and 4xx are final, but
// for 408, 409, 425 and 429, which ask for another try.
func Storable(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status >= 200 && status < 500
}
