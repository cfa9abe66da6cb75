// Package hash turns keys into what the engine routes and stores: a form, a
// 64-bit hash and, for the fixed forms, the other half of the key.
//
// Keys of 16 bytes, canonical UUID texts and canonical ULID texts go through a
// seeded bijection of 128 bits: its first half is the hash, its second half
// the rest of the key, so nothing is lost and nothing is stored twice. All
// other keys get a seeded hash and keep their bytes; keys over MaxBytes keep a
// SHA-256 digest instead.
//
// A form is part of a key's identity: a raw key of 16 bytes and the text of
// the UUID with the same bytes are different keys.
package hash
