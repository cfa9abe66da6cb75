// Package testguards gives the tests of broker adapters the three kinds of memory
// that a consumer may have: the embedded engine, Redis and MariaDB, and a SQL inbox
// whose effects share a transaction with their marks.
//
//	configs := testguards.Each(base) // base, once for each memory
//	inbox := testguards.Inbox(base, testguards.MariaDB)
//
// Servers are those of internal/servertest, started when a topic is made. The
// addresses reach child processes by the environment. Memories of one server keep
// apart by names made from the directory that adaptertest gives each case.
//
// All functions may be called by any number of goroutines at once.
package testguards
