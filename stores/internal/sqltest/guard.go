package sqltest

import (
	"database/sql"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup/guardtest"
	"github.com/firstseen/firstseen/internal/servertest"
	"github.com/firstseen/firstseen/stores/internal/sqlstore"
)

const maxResult = 4096

// Guard runs the conformance kit, one table for each case.
func (g Target) Guard(t *testing.T) {
	addr := g.Addr(servertest.Shared(t, g.Kind))
	db := g.open(t, addr)
	guardtest.Run(t, guardtest.Config{
		MaxResult: maxResult,
		New: func(t testing.TB, lease time.Duration) guardtest.Subject {
			o := sqlstore.Options{Lease: lease, Table: newTable(), MaxResult: maxResult}
			s, _ := g.store(t, db, o)
			must(t, s.Migrate(ctx))
			return g.subject(t, addr, db, o)
		},
	})
}

// subject is one table seen by three stores. The first one's connections go
// through a proxy.
func (g Target) subject(t testing.TB, addr string, db *sql.DB, o sqlstore.Options) guardtest.Subject {
	proxy := servertest.NewProxy(t, addr)
	s, _ := g.store(t, g.open(t, proxy.Addr()), o)
	peer, _ := g.store(t, db, o)
	ahead, inner := g.store(t, db, o)
	sqlstore.SetClock(inner, func() time.Time { return time.Now().Add(time.Hour) })
	return guardtest.Subject{
		Guard: s, Peer: peer, Ahead: ahead,
		Contains: s.Contains, Forget: s.Forget,
		Reopen: func(t testing.TB) guardtest.Subject {
			must(t, s.Close())
			return g.subject(t, addr, db, o)
		},
		Down: func(testing.TB) { proxy.Close() },
	}
}
