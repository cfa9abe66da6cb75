package peers

import (
	"context"
	"time"

	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/firstseen/firstseen/bench"
	"github.com/firstseen/firstseen/dedup"
)

// watermillWindow is by the wall clock and longer than any run: the repository
// has no clock of its own to be given. Its cleaner goroutine has no way to be
// stopped, and keeps the keys of a run alive until the process ends.
const watermillWindow = 24 * time.Hour

func watermillCandidate() bench.Candidate {
	return bench.Candidate{
		Name: "watermill", About: "Watermill's map repository (NewMapExpiringKeyRepository), a call per key",
		Class: bench.Memory, Modules: []string{"github.com/ThreeDotsLabs/watermill"},
		Open: func(context.Context, bench.Setup) (bench.Target, error) {
			r, err := middleware.NewMapExpiringKeyRepository(watermillWindow)
			if err != nil {
				return nil, err
			}
			return &watermillTarget{r}, nil
		},
	}
}

type watermillTarget struct {
	repository middleware.ExpiringKeyRepository
}

func (t *watermillTarget) Admit(ctx context.Context, vs []dedup.Verdict, keys [][]byte) ([]dedup.Verdict, error) {
	for _, key := range keys {
		duplicate, err := t.repository.IsDuplicate(ctx, string(key))
		if err != nil {
			return vs, err
		}
		vs = append(vs, verdictOf(duplicate))
	}
	return vs, nil
}

func (t *watermillTarget) Usage() bench.Usage { return bench.Usage{} }
func (t *watermillTarget) Close() error       { return nil }

func verdictOf(duplicate bool) dedup.Verdict {
	if duplicate {
		return dedup.Duplicate
	}
	return dedup.Fresh
}
