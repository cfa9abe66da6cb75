package bench

// memory is what a process holds, in bytes.
type memory struct {
	anonymous int64 // heap, stacks, anonymous and shared maps
	mapped    int64 // resident pages of files
}
