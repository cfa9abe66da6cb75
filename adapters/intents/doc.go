// Package intents notes durably that the handler of an operation begins, so that
// one that was cut short is never run again by itself.
//
// A process that dies between an effect and the answer's being stored leaves a
// key that nobody holds. With an intent that was durable before the handler ran,
// the next request with the key finds it: the outcome is in doubt, and stays so
// until somebody who can look resolves it. httpidem and rpcidem take a [Store] in
// their options.
//
// # Where intents lie
//
//   - [File] is a synced file of its own, for the embedded engine: one process.
//   - Package sqlintents is a table of PostgreSQL, MySQL or MariaDB, for several
//     replicas.
//
// # What it guarantees
//
// When Begin has returned, the intent is there after a crash or a power failure.
// Of several Begins with one key one succeeds, until its End. An intent that has
// ended may come back after a crash: its key is marked then, and nobody asks for
// the intent of a marked key.
//
// # What it does not do
//
// It does not say which intents are in doubt and which belong to handlers that
// are running: only the guard knows that. An intent older than any handler takes
// is in doubt.
package intents
