// Package sqlretry repeats what a database says should be repeated: statements
// that lost a deadlock or a serialization conflict and changed nothing. It knows
// those by the drivers' errors without importing a driver.
//
// Other errors are not repeated: after a lost connection nobody knows whether the
// statement has run. All functions may be called by any number of goroutines.
package sqlretry
