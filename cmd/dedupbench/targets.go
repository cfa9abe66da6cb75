package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/firstseen/firstseen/bench"
)

// groups are names for several targets.
var groups = []struct {
	name, about string
	has         func(c bench.Candidate) bool
}{
	{"engine", "the engine, exact, with each sync", func(c bench.Candidate) bool {
		return slices.Contains([]string{"firstseen-always", "firstseen-interval", "firstseen-none"}, c.Name)
	}},
	{"firstseen", "the engine in every mode", func(c bench.Candidate) bool { return strings.HasPrefix(c.Name, "firstseen") }},
	{"hints", "the engine with no hint and with wrong ones", func(c bench.Candidate) bool {
		return slices.ContainsFunc(bench.HintCandidates(), func(h bench.Candidate) bool { return h.Name == c.Name })
	}},
	{"memory", "peers that forget when they stop", func(c bench.Candidate) bool { return !isServer(c) && c.Class == bench.Memory }},
	{"embedded", "embedded stores of others", func(c bench.Candidate) bool {
		return c.Embedded && !strings.HasPrefix(c.Name, "firstseen")
	}},
	{"servers", "database servers, started for each run", isServer},
	{"all", "everything", func(bench.Candidate) bool { return true }},
}

func isServer(c bench.Candidate) bool {
	server, _, _ := strings.Cut(c.Name, "-store")
	return slices.Contains([]string{"redis", "mariadb", "postgres"}, server)
}

// describeTargets is the part of the help that lists names.
func describeTargets() string {
	var out strings.Builder
	out.WriteString("Groups of targets:\n")
	for _, g := range groups {
		fmt.Fprintf(&out, "  %-30s %s\n", g.name, g.about)
	}
	out.WriteString("Targets:\n")
	for _, c := range candidates() {
		fmt.Fprintf(&out, "  %-30s %s; survives: %s\n", c.Name, c.About, c.Class)
	}
	return out.String()
}

// chooseTargets resolves names and groups, keeps the order of candidates, and
// filters the engine's exact targets by sync.
func chooseTargets(names, sync []string) ([]bench.Candidate, error) {
	chosen := make(map[string]bool)
	var problems []error
	for _, name := range names {
		found := false
		for _, c := range candidates() {
			if c.Name == name || inGroup(c, name) {
				chosen[c.Name], found = true, true
			}
		}
		if !found {
			problems = append(problems, fmt.Errorf("no target %q", name))
		}
	}
	for _, s := range sync {
		if !slices.Contains([]string{"always", "interval", "none"}, s) {
			problems = append(problems, fmt.Errorf("no sync %q: always, interval or none", s))
		}
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("%w\n\n%s", errors.Join(problems...), describeTargets())
	}
	var out []bench.Candidate
	for _, c := range candidates() {
		kind := strings.TrimPrefix(c.Name, "firstseen-")
		if len(sync) > 0 && inGroup(c, "engine") {
			// With --sync, the engine's targets follow from it alone.
			if slices.Contains(sync, kind) && (chosen["firstseen-always"] || chosen["firstseen-interval"] || chosen["firstseen-none"]) {
				out = append(out, c)
			}
			continue
		}
		if chosen[c.Name] {
			out = append(out, c)
		}
	}
	return out, nil
}

func inGroup(c bench.Candidate, name string) bool {
	for _, g := range groups {
		if g.name == name {
			return g.has(c)
		}
	}
	return false
}

// chooseWorkloads reads each value as one workload, or as a list of names.
func chooseWorkloads(values []string) ([]bench.Workload, error) {
	var out []bench.Workload
	for _, value := range values {
		if w, err := bench.ParseWorkload(value); err == nil {
			out = append(out, w)
			continue
		} else if strings.Contains(value, "=") {
			return nil, err
		}
		for name := range strings.SplitSeq(value, ",") {
			w, err := bench.ParseWorkload(name)
			if err != nil {
				return nil, err
			}
			out = append(out, w)
		}
	}
	return out, nil
}
