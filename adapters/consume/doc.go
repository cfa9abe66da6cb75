// Package consume decides what a broker is told about each message. Every broker
// adapter of this project stands on it, and so can one of your own: the adapter
// translates the broker's words into a [Message] and a [Decision] back.
//
//	c, err := consume.New(guard, consume.Options{Scope: consume.Scope{Application: "billing"}})
//	...
//	d := c.Handle(ctx, consume.Message{Key: id, Topic: "orders", Value: msg}, handler)
//	switch d.Action {
//	case consume.Ack:    // acknowledge
//	case consume.Retry:  // have it delivered again, after d.Delay
//	case consume.Reject: // never again: dead-letter it
//	}
//
// # What it guarantees
//
// A message is acknowledged only when its key is marked: because its handler
// succeeded and the claim was committed, or because the guard answered
// Duplicate. (The exceptions are asked for: messages without a key, a policy
// that lets messages through, Observe, Off.) A handler that fails or panics
// releases its key. So each effect happens at least once, and a second time only
// where a handler had run and its process died before the commit, or where a
// handler worked on after its lease was lost.
//
// # How it works
//
// The guard's key is made of the scope (application, topic, tag, instance) and
// the message's own key, each with its length, so that two scopes never meet. All
// keys of a batch are claimed in one call and committed in one. While handlers
// run, their leases are extended; one whose lease is lost gets its context
// cancelled with a cause that wraps [dedup.ErrLeaseLost].
//
// A claim that turns out to be lost at the commit is asked for once more: the
// effect has happened, so where the key is marked by now, or can be claimed and
// marked, the message is acknowledged.
//
// What happens while the store can't be reached, or says Unknown, is decided by a
// guard around it: package policy refuses (then the message is delivered again)
// or lets through (then it is handled, and [dedup.Claim.Unguarded] tells).
//
// # Who may call at once
//
// All methods of a [Consumer] may be called by any number of goroutines.
//
// # What it does not do
//
// It never acknowledges, connects or polls: the adapter does. It doesn't make an
// effect and its mark one transaction; a handler can, with a SQL store's CommitTx
// and [Work.SetCommitted].
package consume
