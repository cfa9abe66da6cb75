// Package marks is the format of the log of marks: a Kafka topic partitioned as
// the input, with one record for each committed batch of a partition. Whoever
// takes a partition over reads it to know what was seen.
//
// A record's value holds the keys themselves, since the hash seeds of two
// directories differ:
//
//	1  version, 1
//	1  form: 0 keys of any length, 1 keys of one length
//	8  time of the marks, ms since 1970, big endian
//	   number of keys, uvarint
//	   form 1: length of each key, uvarint; then the keys
//	   form 0: for each key its length, uvarint, and the key
//	4  CRC32C of all before it, big endian
//
// The record's header PartitionsHeader says, as decimal text, how many partitions the
// input had then: keys lie elsewhere once there are more.
//
// A key has 1 to 65,535 bytes. The functions may be called by any number of
// goroutines at once.
package marks
