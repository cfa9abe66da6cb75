package journal

// State is a moment's view of the journal.
type State struct {
	RingBytes int64  // the ring's size
	MaxRing   int64  // what it can be grown to
	Used      int64  // of it taken by live frames and reservations
	Tail      Pos    // frames below it will not be replayed
	End       Pos    // of the last frame appended
	Written   Pos    // frames below it are with the operating system
	Durable   Pos    // frames below it are on disk
	Unsynced  int64  // bytes appended that are not on disk yet
	Bytes     uint64 // bytes handed to the operating system since opening
	Writes    uint64 // write calls since opening; small batches need none
	Syncs     uint64 // syncs since opening
	RoomWaits uint64 // reservations that had to wait since opening
	Failed    bool   // a write or a sync failed (I7)
}

// State returns the journal's state. It does not wait for I/O.
func (j *Journal) State() State {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := State{
		RingBytes: int64(j.mu.allocated), MaxRing: int64(j.size), Used: int64(j.usedLocked()),
		Tail: j.mu.room.tail, End: j.mu.end, Written: j.written.Load(), Durable: j.durable.Load(),
		Bytes: j.mu.bytes, Writes: j.mu.writes, Syncs: j.mu.syncs, RoomWaits: j.mu.room.waits,
		Failed: j.failed.Load() != nil,
	}
	s.Unsynced = int64(s.End - min(s.Durable, s.End))
	return s
}
