// Package mem allocates large blocks of memory outside the garbage collector's
// heap.
//
// Filters and tables hold gigabytes of plain words. On the heap they would
// double the collector's target, and the runtime gives no hold on page sizes:
// a random access costs 345 to 400 ns on 4 KiB pages and 210 ns on 2 MiB pages,
// most of the difference being the walk of the page table. So on Linux a
// [Region] of 2 MiB or more starts on a 2 MiB boundary and asks for huge pages.
// Elsewhere, under the build tag purego and for small regions it is an ordinary
// slice.
//
// A Region is zeroed, holds no pointers and lives until Free. The functions of
// the package may be called by many goroutines; what is stored in a Region is
// guarded by whoever owns it.
package mem
