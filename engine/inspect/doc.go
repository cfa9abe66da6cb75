// Package inspect looks at a directory of package engine that is not open, and repairs
// it.
//
//   - [Inspect] tells what a directory holds. It reads the manifest, the journal and the
//     snapshots, and writes nothing.
//   - [Verify] reads everything and lists all damage.
//   - [Repair] keeps what is sound, moves the rest aside and notes in the manifest which
//     part of the window is lost. It never runs by itself.
//
// # What is guaranteed
//
// Each call takes the directory's lock first, so that no engine is at work in it
// meanwhile: ErrLocked says that one is. Damage is told, never guessed over. What Repair
// gives up stays in a directory damaged-<n>; a Repair that was interrupted can be repeated.
//
// # Who may call at once
//
// Everything, of which one call at a time gets a directory's lock.
//
// # What it does not do
//
// It answers for no key: open the directory with package engine for that. It knows
// nothing of options: what an engine would make of a gap is Options.OnGap.
package inspect
