package adaptertest

import "testing"

// Check runs the case with this name.
func Check(t testing.TB, c Config, name string) {
	for _, tc := range cases() {
		if tc.name == name {
			c.withDefaults().check(t, tc)
			return
		}
	}
	t.Errorf("no case has the name %s", name)
}

// CheckStorm runs a storm.
func CheckStorm(t testing.TB, c Config, s Storm) { runStorm(t, c, s) }
