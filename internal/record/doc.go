// Package record cuts a stream of bytes into records and finds the key of each.
//
// A [Reader] gives the records of a stream one after the other, every byte of
// them, line ends included: the records put together are the input, whatever it
// holds, but for a byte order mark at its beginning. A [Format] says where records
// end: at a line feed or a zero byte, for CSV only outside quotes. encoding/csv is
// not used, because it does not give back the bytes that it read.
//
// A [Key] says where the key of a record is: the whole line, paths in a JSON
// document, fields of CSV or TSV, or all but some. [Key.Append] extracts it and
// encodes it with [AppendKey] into what an engine can remember, 1 to
// [dedup.MaxKeyLen] bytes, so that two records have the same encoded key exactly
// when their keys are the same bytes; [Options] take away differences that don't
// count.
//
// Nothing here has state beyond one Reader, which belongs to one goroutine. A
// Key is a value and may be used by any number of goroutines at once.
//
// What it does not do: decompress, convert character sets, or judge whether CSV
// is well formed beyond finding where records end.
package record
