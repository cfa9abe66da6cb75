package sabotage

const (
	kafka = "adapters/kafka/partitioned"

	// What the fault suite says of a key that was acknowledged and is gone, and of one
	// whose result is.
	missed = `was marked and is said to be new|was acknowledged, now it is fresh`
	lost   = `\(acknowledged true\): duplicate with "", .*result lost|was acknowledged with a result, now it is`
)

// faults are the wrong lines. A value that makes a condition true or false, or a call
// go without effect, is best: it breaks one thing and leaves no name unused.
var faults = []fault{
	// What a mark and its answer rest on.
	{
		name: "AnswerEarly", breaks: "a mark's answer does not wait for the journal (I1)",
		edits: []edit{{"engine/call.go", "if c.wait > 0 {", "if c.wait < 0 {"}},
		tests: []test{
			{folder: "engine", name: "TestFaultsPowerLoss", says: missed, tries: 20},
			{folder: "engine", name: "TestFaultsCrashEverywhere", says: missed},
		},
	},
	{
		name: "SkipFilterAdd", breaks: "marked keys are not put into the filter (I1)",
		edits: []edit{
			{"shards/decide.go", "case b.op == opMark && b.alike && s.claims.live == 0:", "case false:"},
			{"shards/mark.go", "if !b.fresh.inFilter {", "if false {"},
		},
		tests: []test{{folder: "engine", name: "TestFaultsKill", says: missed, tries: 20}},
	},
	{
		name: "SkipRebuild", breaks: "a filter is not rebuilt from runs (I1)",
		edits: []edit{{"engine/restore_filter.go", "m.Tombstones || covers(m) {", "m.Tombstones || covers(m) || true {"}},
		tests: []test{{folder: "engine", name: "TestFaultsDamageSmallFiles", says: missed}},
	},
	{
		name: "ForgetClaims", breaks: "a claim is not found by the next caller (I2)",
		edits: []edit{{"shards/claims.go", "if c.live == 0 {", "if c.live >= 0 {"}},
		tests: []test{{folder: "engine", name: "TestFaultsLinearizable", says: "is not linearizable"}},
	},
	{
		name: "HashDecides", breaks: "equal hashes count as equal keys (I3)",
		edits: []edit{
			{"internal/keytable/find.go", "if p.Hi != hi {", "if p.Hi == hi {\n\t\treturn true\n\t}\n\tif p.Hi != hi {"},
			{"persist/block.go", "case d == want && binary.LittleEndian.Uint64(records[i+l.width:]) == lo:", "case d == want:"},
		},
		tests: []test{{folder: "engine", name: "TestFaultsHostileKeys", says: `round 0, .*: key \d+ is duplicate`}},
	},
	{
		name: "AcceptStale", breaks: "a token ends whatever claim has its slot (I6)",
		edits: []edit{{"shards/claims.go", "nonce == 0 || c.slots[slot].nonce != nonce {", "c.slots[slot].nonce == 0 {"}},
		tests: []test{{folder: "engine", name: "TestFaultsLinearizable", says: "is not linearizable"}},
	},
	{
		name: "RouteUnkeyed", breaks: "untrusted keys are routed by the unkeyed hash",
		edits: []edit{{"engine/create.go", "hash.New(id.Seed, id.Untrusted)", "hash.New(id.Seed, false)"}},
		tests: []test{{folder: "engine", name: "TestFaultsHostileWork", says: `one hash.*random keys make`}},
	},

	// Time and generations.
	{
		name: "RetireEarly", breaks: "a generation goes one span too early (I4)",
		edits: []edit{{"engine/window.go", "w.generations[n].end+w.length <= now {", "w.generations[n].end+w.length <= now+w.span {"}},
		tests: []test{{folder: "engine", name: "TestFaultsClock", says: "a key of .* ago is fresh"}},
	},
	{
		name: "FollowWall", breaks: "the clock goes back with the wall (I4)",
		edits: []edit{{"engine/clock.go", "case t > last:", "case true:\n\t\tt = wall\n\tcase t > last:"}},
		tests: []test{{folder: "engine", name: "TestFaultsClock", says: "the engine's clock went back"}},
	},
	{
		name: "ForgetStep", breaks: "the manifest is not told that the wall was set forward (I4)",
		edits: []edit{{"engine/maintain.go", "e.clock.look(); !stepped {", "e.clock.look(); !stepped || true {"}},
		tests: []test{
			{folder: "engine", name: "TestFaultsStopped", says: missed, tries: 20},
			{folder: "engine", name: "TestFaultsSuspend", says: missed},
		},
	},
	{
		name: "ForgetSlots", breaks: "a replay gives slots away that may be in use (I4)",
		edits: []edit{{"engine/replay.go", "return slots <= int64(rc.e.opts.Generations) ||", "return slots > 0 ||"}},
		tests: []test{{folder: "engine", name: "TestOptionsKill", says: "ago is forgotten"}},
	},

	// Damage and loss.
	{
		name: "IgnoreBlockSum", breaks: "a block's checksum is not looked at (I5)",
		edits: []edit{{"persist/lookup.go", "binary.LittleEndian.Uint32(q.data[len(records):]) {", "binary.LittleEndian.Uint32(q.data[len(records):]) && false {"}},
		tests: []test{{folder: "engine", name: "TestFaultsDamageBlock", says: missed}},
	},
	{
		name: "IgnoreMissing", breaks: "a run that the manifest promises may be missing (I5)",
		edits: []edit{{"persist/segment.go", "problems = append(problems, err)", "_ = err"}},
		tests: []test{
			{folder: "engine", name: "TestFaultsDamageAnywhere", says: missed},
			{folder: "engine", name: "TestFaultsOlderParts", says: missed},
		},
	},
	{
		name: "IgnoreProof", breaks: "the journal's end is believed whatever proves more (I5)",
		edits: []edit{{"persist/journal/replay.go", "if pos < r.proven {", "return nil\n\tif pos < r.proven {"}},
		tests: []test{{folder: "engine", name: "TestFaultsDamageSmallFiles", says: missed}},
	},
	{
		name: "IgnoreAge", breaks: "a journal may end before what the caller knows of (I5)",
		edits: []edit{{"persist/journal/replay.go", "if pos < r.j.cfg.NotBefore {", "if false {"}},
		tests: []test{{folder: "engine", name: "TestFaultsOlderDirectory", says: missed}},
	},
	{
		name: "IgnoreGap", breaks: "a known gap is not held against any key (I5)",
		edits: []edit{{"engine/gap.go", "if rc.e.opts.OnGap == Report {", "if false {"}},
		tests: []test{{folder: "engine", name: "TestFaultsGap", says: `of marked keys map\[.*fresh`}},
	},
	{
		name: "HideLoss", breaks: "what a power loss may have taken is not told (I5)",
		edits: []edit{{"engine/replay.go", "rc.stats.MayHaveLost, rc.stats.LostSince = d,", "return\n\trc.stats.MayHaveLost, rc.stats.LostSince = d,"}},
		tests: []test{{folder: "engine", name: "TestFaultsPowerLossInterval", says: "says that marks of 0s|marks of 0s since .* may be, it says", tries: 20}},
	},

	// The journal, the store and the disk.
	{
		name: "PublishUnsynced", breaks: "runs are promised before the store has synced (I5)",
		edits: []edit{{"engine/flush.go", "if err := fl.syncSegments(f.runs); err != nil {", "if err := error(nil); err != nil {"}},
		tests: []test{{folder: "engine", name: "TestFaultsPowerLoss", says: missed + "|open: .*corrupt", tries: 20}},
	},
	{
		name: "ReleaseEarly", breaks: "the journal's room is given back before the manifest (I1)",
		edits: []edit{{"engine/maintain.go", "s := e.journal.State()", "s := e.journal.State()\n\te.journal.Release(s.End)"}},
		tests: []test{{folder: "engine", name: "TestFaultsKill", says: missed + "|open: .*corrupt", tries: 20}},
	},
	{
		name: "KeepRoom", breaks: "only a flush gives room in the journal back",
		edits: []edit{{"engine/promise.go", "if e.opts.Mode == Approximate {", "if e.opts.Mode == Approximate || len(done) == 0 {"}},
		tests: []test{{folder: "engine", name: "TestRingTail", says: "still not: the rotations are in the manifest"}},
	},
	{
		name: "IgnoreSyncError", breaks: "a failed sync of the journal counts as one (I7)",
		edits: []edit{{"persist/journal/write.go", "if err != nil {\n\t\tj.fail(doing, err)", "if false {\n\t\tj.fail(doing, err)"}},
		tests: []test{
			{folder: "engine", name: "TestFaultsSyncErrors", says: "a mark was accepted after a failed sync|no sync failed", tries: 20},
			{folder: "engine", name: "TestFaultsErrorEverywhere", says: missed},
		},
	},
	{
		name: "SkipInterval", breaks: "nobody syncs when an interval is over",
		edits: []edit{{"persist/journal/sync.go", "if j.syncAll() != nil {", "if false {"}},
		tests: []test{{folder: "engine", name: "TestFaultsPowerLossInterval", says: "and no sync began", tries: 20}},
	},
	{
		name: "IgnoreRoom", breaks: "nobody looks whether the disk is full",
		edits: []edit{
			{"engine/room.go", "if e.opts.MinFreeDisk < 0 {", "if true {"},
			{"engine/room.go", "need += 4 << 20", "return nil\n\tneed += 4 << 20"},
			{"persist/badger.go", "if err != nil || free >= storeRoom {", "if err != nil || free >= storeRoom || true {"},
		},
		tests: []test{{folder: "engine", name: "TestFaultsDiskFull", says: "400 batches and the disk is not full|the child ended with|on a full disk: "}},
	},
	{
		name: "IgnoreContext", breaks: "a wait for room does not end with its context (I8)",
		edits: []edit{
			{"engine/log.go", "e.roomWanted.Store(true)", "e.roomWanted.Store(true)\n\t\tctx = context.WithoutCancel(ctx)"},
			{"shards/queue.go", "case <-ctx.Done():", "case <-context.WithoutCancel(ctx).Done():"},
		},
		tests: []test{{folder: "engine", name: "TestFaultsSlowDisk", says: "waits on although its context has ended"}},
	},

	// Results.
	{
		name: "LoseResults", breaks: "some results are not written, but promised",
		edits: []edit{{
			"engine/results_write.go", "if err := d.store.Write(writes); err != nil {",
			"var some []persist.ResultsWrite\n\tfor _, w := range writes {\n\t\tif w.Seq%8 != 0 {\n\t\t\tsome = append(some, w)\n\t\t}\n\t}\n" +
				"\tif err := d.store.Write(some); err != nil {",
		}},
		tests: []test{{folder: "engine", name: "TestFaultsResults", says: lost, tries: 20}},
	},
	{
		name: "UnsyncedResults", breaks: "a result's mark does not wait for the disk to have the result",
		edits: []edit{{"engine/results_write.go", "if err == nil && r.e.opts.Sync == SyncAlways {", "if false {"}},
		tests: []test{{folder: "engine", name: "TestFaultsResultsPowerLoss", says: lost, tries: 20}},
	},
	{
		name: "SettleEarly", breaks: "results count as settled whose marks a kill can still take",
		edits: []edit{{"engine/results.go", "at.Settled = d.synced.Settled", "at.Settled = at.Seq\n\t\tfor seq := range d.unsettled {\n\t\t\tat.Settled = min(at.Settled, seq-1)\n\t\t}"}},
		tests: []test{{folder: "engine", name: "TestResultsSettledByDurableMarks", says: `want ""`}},
	},
	{
		name: "IgnoreLostResults", breaks: "results that are missing are not noticed",
		edits: []edit{{"engine/results_restore.go", "if err != nil && !p.Lost {", "if false {"}},
		tests: []test{{folder: "engine", name: "TestResultsLost", says: `has the result ""`}},
	},
	{
		name: "KeepForgotten", breaks: "a forgotten result is not taken back",
		edits: []edit{{"engine/results_commit.go", "if len(f.dirs) == 0 {", "if len(f.dirs) >= 0 {"}},
		tests: []test{{folder: "engine", name: "TestResultsForgotten", says: "result lost: item 0 of the call, want duplicate"}},
	},
	{
		name: "KeepOrphans", breaks: "results of commits that a crash interrupted are kept",
		edits: []edit{{"engine/results_restore.go", "if err == nil && len(orphans) > 0 {", "if false {"}},
		tests: []test{{folder: "engine", name: "TestFaultsResults", says: "was marked without a result after a crash", tries: 20}},
	},

	// Versions.
	{
		name: "UnsyncedVersions", breaks: "a version is applied before the disk has it",
		edits: []edit{
			{"version/database.go", "WithSyncWrites(true)", "WithSyncWrites(false)"},
			{"version/promise.go", "if err := p.file.Sync(); err != nil {", "if t.txns == 0 {\n\t\t_ = p.file.Sync()\n\t}\n\tif err := error(nil); err != nil {"},
		},
		tests: []test{{folder: "version", name: "TestPowerLoss", says: `entity \d+ was answered at \d+, now at \d+: \{Verdict:apply`, tries: 20}},
	},

	// Kafka.
	{
		name: "MarksOutside", breaks: "marks are written to their log after the transaction",
		edits: []edit{
			{kafka + "/handle.go", "now := time.Now()\n", "return\n\tnow := time.Now()\n"},
			{kafka + "/round.go", "import (", "import (\n\t\"github.com/firstseen/firstseen/adapters/kafka/marks\""},
			{kafka + "/round.go", "s.committed.Add(1)", "s.committed.Add(1)\n\tfor _, sh := range shares {\n" +
				"\t\tvalue, _ := marks.Append(nil, time.Now(), sh.keys, marksBytes)\n" +
				"\t\t_ = s.plain.ProduceSync(ctx, &kgo.Record{Topic: s.o.Marks, Partition: sh.m.id, Value: value})\n\t}"},
		},
		tests: []test{{folder: kafka, name: "TestKilledAfterCommit/without its directory", says: `in the output, [1-9]\d* of them twice`}},
	},
	{
		name: "PositionEarly", breaks: "a position is written before the directory has its marks",
		edits: []edit{{kafka + "/handle.go", "done(r, err)", "early := sh.m.position\n" +
			"\t\t\tearly.Offset, early.NotBefore = r.Offset+1, sh.m.e.Stats().Journal.Durable\n" +
			"\t\t\t_ = early.write(s.directory(sh.m.id) + \".position\")\n\t\t\tdone(r, err)"}},
		tests: []test{{folder: kafka, name: "TestKilledAfterCommit/with its directory", says: `in the output, [1-9]\d* of them twice`}},
	},
	{
		name: "SkipReplay", breaks: "a partition is taken over without reading its log",
		edits: []edit{{kafka + "/replay.go", "if from < r.start {", "from = r.end\n\tif from < r.start {"}},
		tests: []test{
			{folder: kafka, name: "TestKilledAfterCommit/without its directory", says: `in the output, [1-9]\d* of them twice`},
			{folder: kafka, name: "TestEffectsTakeOver", says: "keys were handled again, without the directory"},
		},
	},
}
