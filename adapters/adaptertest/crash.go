package adaptertest

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
)

// crashCases have a consumer that kills its own process at a step of the third
// message, and another one that goes on. No engine can do better than an effect
// twice where the process dies between the effect and its mark.
var crashCases = []testCase{
	{"CrashBeforeClaim", shortLease, func(b *bed) { crash(b, beforeClaim) }},
	{"CrashAfterClaim", shortLease, func(b *bed) { crash(b, afterClaim) }},
	{"CrashInHandler", shortLease, func(b *bed) { crash(b, inHandler) }},
	{"CrashAfterEffect", shortLease, func(b *bed) { crash(b, afterEffect) }},
	{"CrashBeforeCommit", shortLease, func(b *bed) { crash(b, beforeCommit) }},
	{"CrashAfterCommit", shortLease, func(b *bed) { crash(b, afterCommit) }},
}

func crash(b *bed, s step) {
	keys := childKeys(12)
	first := b.spawn(order{Dies: s, After: 2})
	// One after the other, so that each step is passed once for each message.
	for n, key := range keys[:8] {
		b.Produce(b.TB, b.address, key)
		b.until("an effect or a death "+string(s), func() bool {
			return !first.alive() || b.stormEffects([]*child{first}) > int64(n)
		})
	}
	b.until("a death "+string(s), func() bool { return !first.alive() })
	first.killed = true
	b.Produce(b.TB, b.address, append(keys[8:], keys[:2]...)...) // not the third: it must come by itself
	second := b.spawn(order{})
	b.until("every key's effect in some process", func() bool {
		return b.stormEffects([]*child{first, second}) >= int64(len(keys))
	})
	b.drain()
	b.terminate(second)
	b.wantJudged(keys, first, second)
}

// tallies reads the ledgers of children.
func (b *bed) tallies(children ...*child) map[string]*tally {
	b.Helper()
	all := map[string]*tally{}
	for _, c := range children {
		err := readLedger(c.ledger, c.killed, all)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			b.Fatal(err)
		}
	}
	return all
}

// wantJudged wants every effect at least once, and more than once only where a
// kill excuses it; with Config.Effects exactly once.
func (b *bed) wantJudged(keys []string, children ...*child) {
	b.Helper()
	if b.Effects != nil {
		b.wantExactly(keys)
		return
	}
	all := b.tallies(children...)
	missing, twice, left := judge(all, keys)
	if len(missing) > 0 {
		b.Errorf("%d of %d keys had no effect: %q …", len(missing), len(keys), missing[:min(5, len(missing))])
	}
	if len(twice) > 0 {
		t := all[twice[0]]
		b.Errorf("%d of %d keys had an effect too many, the first of them %q: %d effects, %d of which a kill excuses",
			len(twice), len(keys), twice[0], t.effects, t.excused)
	}
	if len(left) > 0 {
		b.Errorf("%d of %d keys had an effect that its consumer ended without committing: %q …", len(left), len(keys), left[:min(5, len(left))])
	}
	if n := len(all) - len(keys); n > 0 {
		extra := slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(key string) bool { return slices.Contains(keys, key) })
		b.Errorf("%d keys that nobody sent: %q …", n, extra[:min(5, len(extra))])
	}
}
