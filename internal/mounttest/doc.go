// Package mounttest mounts file systems for tests: small ones that fill up, and an
// ext4 in a file whose power can be cut. The kernel does all of it, so what a test
// finds after a cut is what ext4 leaves, and not what a model of it would
// (see internal/faultfs for the model).
//
// It works on Linux, for root, where mount and mkfs.ext4 are installed. What can't be
// had is an error that says why: the test has to skip itself, and say so loudly.
// What fails later fails the test. Mounts end with their test.
package mounttest
