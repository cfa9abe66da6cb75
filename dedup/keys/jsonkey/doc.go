// Package jsonkey makes keys of JSON documents: the value at a path ([Path]), or
// a hash of all that a document says ([Hash]).
//
// Both read the whole document and refuse what is not JSON (RFC 8259), because a
// key that is read from half a document may be somebody else's. Hash refuses
// also what has no one meaning: a name twice in an object, text that is not
// UTF-8, a number that a double can't hold.
//
// Nothing here holds state; all functions may be called by any number of
// goroutines at once.
package jsonkey
