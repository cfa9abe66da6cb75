// Command firstseen passes on what is seen for the first time.
//
//	firstseen filter [FILE…]        write the records whose key is new, byte for byte
//	firstseen kafka                 copy a Kafka topic without its duplicates, exactly once
//	firstseen kafka prime           fill that log before the first start
//	firstseen kafka marks           read the log of marks that it keeps
//	firstseen inspect DIR           what a directory holds
//	firstseen verify DIR            read everything, list all damage
//	firstseen repair DIR            keep what is sound, state what is lost
//	firstseen contains DIR KEY      is this key remembered?
//	firstseen forget DIR KEY        let it pass once more
//	firstseen soak                  try the engine on this machine, with kills and damage
//	firstseen completion SHELL      a completion script
//
// Data goes to standard output and everything else to standard error. The exit
// code is 0, 1 when something went wrong, 2 for a command line that makes no
// sense, and 128 and the signal's number after Ctrl-C or a request to stop.
//
// # How filter keeps its promise
//
// A goroutine (feed) cuts the input into batches; the command's own goroutine
// takes one after the other: it claims the keys of the batch, writes the records
// that are new, hands them to the kernel, and only then commits the claims. A
// process that is killed at any point has committed nothing that it had not
// written, so a second run over the same input with the same directory writes
// what is missing, and only records of the last batch can come twice.
//
// With --sync always (the default with --dir) an output that is a regular file
// is on the disk before the keys are marked. Otherwise the order could be lost
// in a power failure, and with it records that are marked and nowhere else.
package main
