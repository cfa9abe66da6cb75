// Package sqltest holds the tests that all SQL stores have in common. They run
// against real servers.
package sqltest
