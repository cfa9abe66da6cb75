// Package keys makes keys of what messages carry: several parts joined without
// ambiguity ([Join], [Append]), and the texts of UUIDs and ULIDs as 16 bytes
// ([UUID], [ULID]), which is the form that guards store and compare fastest.
// Keys from JSON are in package jsonkey.
//
// # Parts
//
// A key has to say whose it is: two tenants, topics or applications that share a
// guard must not share keys. Join puts the length in front of each part, so that
// ("a", "bc") is never ("ab", "c"). Make every key of a guard the same way: a
// joined key can have the bytes of one that was not joined.
//
//	part   length in bytes as an unsigned varint (encoding/binary), shortest form
//	       the bytes
//	key    its parts, one after the other
//
// # Making ids
//
// This package reads ids and makes none. A producer that has no natural key
// (order number and version, file name and offset) gives each message a new id
// once, before the first try to send it, with github.com/google/uuid (NewV7) or
// github.com/oklog/ulid/v2 (Make). Both begin with their time of birth, which
// keeps databases' indexes in order. A random id made for each try makes every
// try fresh.
//
// Nothing here holds state; all functions may be called by any number of
// goroutines at once.
package keys
