// Package journal keeps the marks that are in no run yet: a ring of frames in one
// preallocated file, with group commit. It is an internal part of the engine and
// promises no compatibility; FORMAT.md has its bytes.
//
// # How a mark gets here
//
// A call sets room aside with [Journal.Reserve], which waits for a flush where the
// ring is full. [Journal.Append] copies one frame of a shard's marks into a buffer
// and returns its position; it is called with the shard locked and never waits for
// the disk. [Journal.Wait] returns when everything up to a position is as durable as
// the mode asks: one caller writes and syncs for all who wait (group commit).
// [Journal.Release] gives back the room of what is in runs.
//
// # What is guaranteed
//
//   - Frames that Wait has returned for are there after a crash, in their order:
//     kill -9 in every mode, a power cut with SyncAlways.
//   - [Journal.Replay] gives every frame from a position on, once, and tells an
//     unfinished write at the end from damage in the middle. Damage is a
//     *dedup.CorruptError, never a missing frame without an error (I5).
//   - After a failed write or sync every call fails (I7), since what the disk holds
//     is not known.
//
// # Who may call at once
//
// All calls but Open and Replay, which come first, and Close, which comes last.
package journal
