// Package sqlintents keeps intents in a table of PostgreSQL, MySQL or
// MariaDB, for services with several replicas.
//
// The table is firstseen_intents; [Table.Migrate] makes it and is never run
// unasked. An intent is one row from the begin of a handler to the end of its
// request, so the table holds as many rows as requests are running, and those in
// doubt. Rows are as durable as the database makes its commits.
//
// The package takes the caller's *sql.DB, imports no driver and never closes it.
// All methods may be called by any number of goroutines and processes at once.
package sqlintents
