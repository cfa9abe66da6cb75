// Package local is a layer in front of a shared store: a [dedup.Guard] around a
// Guard, which remembers keys that are known to be marked, so that near duplicates
// cost no round trip.
//
// # What it guarantees
//
// It says Duplicate on its own and nothing else: Fresh and InFlight always come from
// the store behind it. What it remembers are whole keys, so that no two keys are
// mistaken for one, and a key is remembered no longer than the store surely keeps its
// mark: until the Expires of a Duplicate that the store gave, or for the window that
// Options say after a commit. Entries end by the wall clock and by the monotonic one,
// whichever is first, so that neither a clock that is set back nor a machine that
// slept makes an entry outlive its mark.
//
// Keys whose mark has a result, or lost one, are not remembered: they go to the store.
//
// # A Forget elsewhere
//
// Guard.Forget takes a key out of this layer only; call it beside the store's own
// Forget. Other processes' layers don't hear of either: they go on answering Duplicate
// until their entry ends. Where keys are forgotten in order to be processed again,
// keep the window of Options short, or do without the layer. The same goes for marks
// that the store itself loses: the layer still knows them, which is to the good.
//
// # How it works
//
// Keys are spread over shards with a lock each. A shard has two maps: the new one
// takes keys until it holds half of what the shard may hold; then it becomes the old
// one, whose keys are dropped, and an empty one takes its place. So the last half of
// what fits is always there, at most all of it, and nothing has to be moved or timed.
//
// # Who may call at once
//
// Any number of goroutines. It starts none and needs no Close.
//
// # What it does not do
//
// It does not spare the first claim of a key its round trip: only the store can give a
// key away.
package local
