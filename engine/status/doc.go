// Package status shows an engine to people: one page for a browser, the same
// numbers as JSON, and an expvar.Var.
//
//	mux.Handle("GET /debug/firstseen", status.Handler(e.Stats))
//	expvar.Publish("firstseen", status.Var(e.Stats))
//
// # What it guarantees
//
// The page needs nothing from elsewhere: no script, font or image, and its
// Content-Security-Policy forbids them. It shows counts and times, never a key.
// A closed engine is 503.
//
// # How it works
//
// Each request calls the engine's Stats once, about a millisecond. With
// ?format=json it answers with engine.Stats as encoding/json writes it; the Var
// does as well. Rates are averages since the engine was opened; for those of the
// last minutes see metrics/prometheus.
//
// # Who may call at once
//
// Handlers and vars may be used by any number of goroutines at once.
//
// # What it does not do
//
// It asks nobody for a password. The page tells how busy the service is and names
// directories: keep it on an internal port.
package status
