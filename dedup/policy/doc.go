// Package policy decides what happens to messages while nobody can say whether
// they are fresh: a [Guard] around another guard refuses them, which is the
// default, or lets them through.
//
// Refusing keeps the promise: the broker delivers the message again. Letting
// through keeps the messages moving: each comes as a claim that is Fresh and
// Unguarded and has no token. A message that was handled before is then
// handled again. Commit of such a claim tries to mark its key after all, so that
// the time without a guard does not last longer than the store's.
//
// What a policy swallows is counted ([Stats]) and logged, at most one line for
// each Options.LogEvery. What it does not do: it does not tell a store that is down
// from one that is slow (Options.Timeout does), and it does not ask less often
// while the store is down.
//
// All methods may be called by any number of goroutines at once.
package policy
