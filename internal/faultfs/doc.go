// Package faultfs is a file system in memory for tests of what must survive: it
// fails the operation that the test names, and it gives the state that a power
// cut would leave.
//
// It implements vfs.FS. Every file knows its content and, page by page, what
// of it was synced; every directory entry knows whether its directory was synced
// since. Crash takes the file system apart into what is safe and what chance
// keeps.
//
// The model is harsher than ext4 and as harsh as POSIX allows: unsynced pages of
// 4 KiB survive each on its own, also in part of a file that grew; creations,
// renames and removals survive each on its own and not in their order; a sync
// that failed may have written any of the pages, and a later sync does not write
// the others.
//
// All methods may be called at once.
package faultfs
