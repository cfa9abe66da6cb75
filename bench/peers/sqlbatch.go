package peers

import "github.com/firstseen/firstseen/dedup"

// distinct returns the keys of a call without repetitions, since one statement
// must not be given the same key twice when its answer has no order.
func distinct(keys [][]byte) [][]byte {
	seen := make(map[string]struct{}, len(keys))
	out := make([][]byte, 0, len(keys))
	for _, key := range keys {
		if _, ok := seen[string(key)]; !ok {
			seen[string(key)] = struct{}{}
			out = append(out, key)
		}
	}
	return out
}

// answer appends a verdict for each key, given the set of those that the
// statement inserted: the first of equal keys is the fresh one. It empties the
// set.
func answer(vs []dedup.Verdict, keys [][]byte, inserted map[string]struct{}) []dedup.Verdict {
	for _, key := range keys {
		_, fresh := inserted[string(key)]
		delete(inserted, string(key))
		vs = append(vs, verdictOf(!fresh))
	}
	return vs
}
