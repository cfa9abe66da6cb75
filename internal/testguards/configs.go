package testguards

import (
	"testing"

	"github.com/firstseen/firstseen/adapters/adaptertest"
)

// Each returns base once for each memory, by the names base.Name-engine and so on.
func Each(base adaptertest.Config) []adaptertest.Config {
	var all []adaptertest.Config
	for _, m := range Memories() {
		all = append(all, With(base, m))
	}
	return all
}

// With returns base with another memory.
func With(base adaptertest.Config, m Memory) adaptertest.Config {
	c := base
	c.Name, c.Guard = base.Name+"-"+m.Name, m.Open
	c.NewTopic = func(t testing.TB) string {
		t.Helper()
		if m.Addr != nil {
			m.Addr(t)
		}
		return base.NewTopic(t)
	}
	return c
}
