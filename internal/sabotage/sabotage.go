// Package sabotage breaks one line of the code on purpose, for the tests that
// have to notice it: a suite that never went red proves nothing. Each Fault is
// asked for in one place, off the hot path or once a batch; outside of a test
// binary none can be switched on.
package sabotage

import (
	"flag"
	"sync/atomic"
)

// A Fault is one wrong line.
type Fault uint32

const (
	None              Fault = iota
	AnswerEarly             // engine: a mark's answer does not wait for the journal
	SkipFilterAdd           // shards: marked keys are not put into the filter (I1)
	SkipRebuild             // engine: a filter is not rebuilt from runs (I1)
	PublishUnsynced         // engine: runs are promised before the store has synced
	ReleaseEarly            // engine: the journal's room is given back before the manifest
	IgnoreBlockSum          // persist: a block's checksum is not looked at (I5)
	IgnoreMissing           // persist: a run that the manifest promises may be missing (I5)
	IgnoreProof             // persist: the journal's end is believed whatever proves more (I5)
	IgnoreSyncError         // persist: a failed sync of the journal counts as one (I7)
	RetireEarly             // engine: a generation goes one span too early (I4)
	FollowWall              // engine: the clock goes back with the wall (I4)
	AcceptStale             // shards: a token ends whatever claim has its slot (I6)
	ForgetClaims            // shards: a claim is not found by the next caller (I2)
	HashDecides             // shards, persist: equal hashes count as equal keys (I3)
	IgnoreRoom              // engine: nobody looks whether the disk is full
	IgnoreContext           // engine, shards: a wait for room does not end with its context
	IgnoreGap               // engine: a known gap is not held against any key
	SkipInterval            // persist: nobody syncs when an interval is over
	ForgetStep              // engine: the manifest is not told that the wall was set forward (I4)
	HideLoss                // engine: what a power loss may have taken is not told
	IgnoreAge               // persist: a journal may end before what the caller knows of (I5)
	RouteUnkeyed            // engine: untrusted keys are routed by the unkeyed hash
	ForgetSlots             // engine: a replay gives slots away that may be in use (I4)
	KeepRoom                // engine: only a flush gives room in the journal back
	LoseResults             // engine: some results are not written, but promised
	UnsyncedResults         // engine: a result's mark does not wait for the disk to have the result
	IgnoreLostResults       // engine: results that are missing are not noticed
	KeepForgotten           // engine: a forgotten result is not taken back
	KeepOrphans             // engine: results of commits that a crash interrupted are kept
	MarksOutside            // kafka: marks are written to their log after the transaction
	PositionEarly           // kafka: a position is written before the directory has its marks
	SkipReplay              // kafka: a partition is taken over without reading its log
)

var active atomic.Uint32

// On reports whether the fault is switched on.
func On(f Fault) bool { return active.Load() == uint32(f) }

// Enable switches one fault on, instead of any other. It panics outside of a
// test binary.
func Enable(f Fault) {
	if f != None && flag.Lookup("test.v") == nil {
		panic("sabotage: not a test")
	}
	active.Store(uint32(f))
}
