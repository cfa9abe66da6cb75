package testguards

import (
	"os"

	"github.com/firstseen/firstseen/adapters/adaptertest"
)

// Storm has so many messages and kills, and those of the long form with
// FIRSTSEEN_SERVERS=long.
func Storm(messages, kills int) adaptertest.Storm {
	if os.Getenv("FIRSTSEEN_SERVERS") == "long" {
		messages, kills = 100_000, 20
	}
	return adaptertest.Storm{Messages: messages, Kills: kills}
}
