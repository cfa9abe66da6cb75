package peers

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/firstseen/firstseen/bench"
	"github.com/firstseen/firstseen/dedup"
	mysqlstore "github.com/firstseen/firstseen/stores/mysql"
	pgstore "github.com/firstseen/firstseen/stores/postgres"
)

// sqlStoreCandidates are our own shared stores on the same servers as the peers:
// claims alone, which are to be compared with their plain inserts, and what a
// consumer does.
func sqlStoreCandidates() []bench.Candidate {
	var all []bench.Candidate
	for _, c := range []struct {
		server, about, module string
		open                  func(ctx context.Context, s bench.Setup, commits bool) (bench.Target, error)
	}{
		{"mariadb", "stores/mysql on loopback, default options of the server", "github.com/go-sql-driver/mysql", openMariaDBStore},
		{"postgres", "stores/postgres on loopback, default options of the server", "github.com/jackc/pgx/v5", openPostgresStore},
	} {
		for _, form := range []struct {
			name, about string
			commits     bool
		}{
			{"-store-claims", ", ClaimBatch alone", false},
			{"-store", ", ClaimBatch, then Commit of what is fresh", true},
		} {
			all = append(all, bench.Candidate{
				Name: c.server + form.name, About: c.about + form.about, Class: bench.Power, Modules: []string{c.module},
				Open: func(ctx context.Context, s bench.Setup) (bench.Target, error) { return c.open(ctx, s, form.commits) },
			})
		}
	}
	return all
}

// sqlStoreTarget is a store beside the peer whose server it uses.
type sqlStoreTarget struct {
	bench.Target
	store interface {
		dedup.Guard
		Migrate(ctx context.Context) error
		Close() error
	}
	db      *sql.DB // to close, or nil where it is the peer's
	commits bool
	version string
}

// A claim that is never ended must count as seen for the whole run.
const sqlStoreTTL = redisTTL

func openMariaDBStore(ctx context.Context, s bench.Setup, commits bool) (bench.Target, error) {
	peer, err := openMariaDB(ctx, s)
	if err != nil {
		return nil, err
	}
	t := &sqlStoreTarget{Target: peer, commits: commits, version: peer.Version()}
	store, err := mysqlstore.New(peer.db, mysqlstore.Options{Window: sqlStoreTTL, Lease: sqlStoreTTL})
	if err != nil {
		return nil, errors.Join(err, peer.Close())
	}
	t.store = store
	return t.migrate(ctx)
}

func openPostgresStore(ctx context.Context, s bench.Setup, commits bool) (bench.Target, error) {
	opened, err := openPostgres(ctx, s)
	if err != nil {
		return nil, err
	}
	peer := opened.(*postgresTarget)
	t := &sqlStoreTarget{Target: peer, commits: commits, version: peer.Version(), db: stdlib.OpenDBFromPool(peer.pool)}
	store, err := pgstore.New(t.db, pgstore.Options{Window: sqlStoreTTL, Lease: sqlStoreTTL})
	if err != nil {
		return nil, errors.Join(err, t.db.Close(), peer.Close())
	}
	t.store = store
	return t.migrate(ctx)
}

func (t *sqlStoreTarget) migrate(ctx context.Context) (bench.Target, error) {
	if err := t.store.Migrate(ctx); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// Version says which server it is.
func (t *sqlStoreTarget) Version() string { return t.version }

func (t *sqlStoreTarget) Admit(ctx context.Context, vs []dedup.Verdict, keys [][]byte) ([]dedup.Verdict, error) {
	cs, err := t.store.ClaimBatch(ctx, make([]dedup.Claim, 0, len(keys)), keys)
	if err == nil && t.commits {
		err = t.store.Commit(ctx, cs...)
	}
	if err != nil {
		return vs, err
	}
	for i := range cs {
		vs = append(vs, verdictOf(cs[i].Verdict != dedup.Fresh))
	}
	return vs, nil
}

func (t *sqlStoreTarget) Close() error {
	err := t.store.Close()
	if t.db != nil {
		err = errors.Join(err, t.db.Close())
	}
	return errors.Join(err, t.Target.Close())
}
