package vfs

// HugePage is the size and the alignment of the large pages of amd64, and of arm64
// with 4 KiB pages. Only one that is needed before the next sync is worth filling as a
// whole: what is written to it afterwards has all of it written to the disk again.
const HugePage = 2 << 20
