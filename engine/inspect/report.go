package inspect

import (
	"time"

	"github.com/firstseen/firstseen/persist"
)

// Generation describes one generation, as the manifest promises it.
type Generation struct {
	Number   uint64    `json:"number"`
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"` // zero for the live one
	Keys     uint64    `json:"keys"`
	Runs     int       `json:"runs"`
	Bytes    int64     `json:"bytes"` // keys in runs, as stored
	Fill     float64   `json:"fill"`  // share of the bits that are set in its snapshot
	Snapshot bool      `json:"snapshot"`
}

// Results describes the results of one generation, as the manifest promises them.
type Results struct {
	Generation uint64 `json:"generation"`
	Dir        string `json:"dir"`
	Records    uint64 `json:"records"` // those of forgotten keys included
	Lost       bool   `json:"lost"`    // some are missing: see dedup.ErrResultLost
}

// Journal describes the journal.
type Journal struct {
	RingBytes int64  `json:"ring_bytes"`
	UsedBytes int64  `json:"used_bytes"`
	Durable   uint64 `json:"durable_position"` // only grows; see engine.Options.NotBefore
}

// A Gap is a lost piece of the window.
type Gap struct {
	Generation uint64    `json:"generation"`
	Start      time.Time `json:"start"`
	End        time.Time `json:"end"` // zero: not over yet
	Reason     string    `json:"reason"`
}

func gapsOf(lost []persist.GapMeta) (gaps []Gap) {
	for _, g := range lost {
		gaps = append(gaps, Gap{g.Generation, time.Unix(0, g.Start), endTime(g.End), g.Reason})
	}
	return gaps
}

func endTime(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// mode is the engine's word for what a directory was made for.
func mode(id persist.Identity) string {
	if id.Approximate {
		return "approximate"
	}
	return "exact"
}
