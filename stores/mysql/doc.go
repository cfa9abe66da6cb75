// Package mysqlstore is a memory of keys in a MySQL or MariaDB table that any
// number of processes share: a [dedup.Guard].
//
//	db, err := sql.Open("mysql", dsn) // any MySQL driver for database/sql
//	store, err := mysqlstore.New(db, mysqlstore.Options{Window: 7 * 24 * time.Hour})
//	err = store.Migrate(ctx) // once, by whoever may create tables
//	defer store.Close()
//
// # What it guarantees
//
// Of all claims of a key, by all processes, exactly one is Fresh until it is
// released or its lease ends. A mark is as durable as a commit of the database:
// innodb_flush_log_at_trx_commit must be 1 (the default) for it to survive a
// crash of the server's machine, and asynchronous replication may lose the last
// marks in a failover. All times are the database server's, so the clients'
// clocks don't matter. After a failover they are the new server's: keep the
// servers' clocks together.
//
// Keys are compared byte by byte, whatever the collation of the database. A key
// of up to 255 bytes stands in the table as it is; a longer one stands there as
// its SHA-256 digest.
//
// A mark is kept for Window, counted from its commit. A row is deleted up to a
// Lease later, when the sweeper comes by.
//
// # How it works
//
// A batch of fresh keys is claimed by one INSERT IGNORE. Where it leaves rows
// alone, a SELECT tells what they are, and a third statement takes over those
// whose time has ended. A commit is one UPDATE, a release two statements, and
// where claims are lost, one more finds out which. All are
// plain text without parameters, so that each is one round trip, with or without
// prepared statements. Larger calls are split into parts of 2,000 keys.
//
// No statement needs a transaction or another isolation level than the
// session's own. Deadlocks and lock timeouts are repeated. A lost connection is
// not: its call fails, and nothing is known of its keys. If they were claimed,
// they are fresh again when the lease ends.
//
// One goroutine for each store sweeps expired rows, a few hundred at a time; a
// claim in the table sees to it that only one process does so. Store.Close ends
// it.
//
// # Inbox
//
// Where the handler's effect is a write to the same database, AdmitTx or CommitTx
// put the mark into the handler's own transaction: effect and mark happen
// together or not at all, which makes it exactly once. A call for a key that an
// open transaction has marked waits for that transaction's end.
//
// # Who may call at once
//
// Any number of goroutines, but for the restrictions of a *sql.Tx. The store
// neither opens nor closes the *sql.DB. A store uses one connection at a time for
// each call.
//
// # What it does not do
//
// It doesn't create its tables unasked, doesn't work with another storage engine
// than InnoDB, and doesn't decide what to do while the database is down: calls
// fail then. A result must fit into max_allowed_packet twice.
package mysqlstore
