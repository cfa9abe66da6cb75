package mysqlstore_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/dedup/guardtest"
	"github.com/firstseen/firstseen/internal/javalistener"
	"github.com/firstseen/firstseen/internal/servertest"
	"github.com/firstseen/firstseen/stores/internal/sqltest"
	mysqlstore "github.com/firstseen/firstseen/stores/mysql"
)

var ctx = context.Background()

var listenerTables int

func newListener(t *testing.T) (*mysqlstore.Store, javalistener.SQL) {
	t.Helper()
	db, err := target.Open(servertest.Shared(t, target.Kind).Env("MARIADB_ADDR"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	listenerTables++
	table := fmt.Sprintf("t_rocketmq_dedup_%d", listenerTables)
	if _, err := db.ExecContext(ctx, fmt.Sprintf(javalistener.Table, table)); err != nil {
		t.Fatal(err)
	}
	s, err := mysqlstore.NewListener(db, mysqlstore.Options{Table: table, SweepEvery: -1, Lease: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	return s, javalistener.SQL{TB: t, DB: db, Table: table}
}

func claim(t *testing.T, s *mysqlstore.Store, key []byte, want dedup.Verdict) dedup.Claim {
	t.Helper()
	c, err := s.Claim(ctx, key)
	if err != nil || c.Verdict != want {
		t.Fatalf("%q is %v (%v), want %v", key, c.Verdict, err, want)
	}
	return c
}

// TestListenerShares: what one side claims and marks the other one sees.
func TestListenerShares(t *testing.T) {
	s, j := newListener(t)
	key := func(k string) []byte { return mysqlstore.ListenerKey("app", "orders", "T1", k) }

	j.Want("", "app", "orders", "T1", "1")
	claim(t, s, key("1"), dedup.InFlight)
	j.Done("app", "orders", "T1", "1")
	claim(t, s, key("1"), dedup.Duplicate)

	j.Want("", "app", "orders", "T1", "2")
	j.Failed("app", "orders", "T1", "2")
	c := claim(t, s, key("2"), dedup.Fresh)
	j.Want("CONSUMING", "app", "orders", "T1", "2")
	if err := s.Commit(ctx, c); err != nil {
		t.Fatal(err)
	}
	j.Want("CONSUMED", "app", "orders", "T1", "2")

	c = claim(t, s, key("3"), dedup.Fresh)
	if err := s.Release(ctx, c); err != nil {
		t.Fatal(err)
	}
	j.Want("", "app", "orders", "T1", "3")

	// Parts are columns: another split of the same text is another key.
	claim(t, s, mysqlstore.ListenerKey("app", "orders", "", "T1:1"), dedup.Fresh)
}

// TestListenerRow: the columns are as Java writes and reads them.
func TestListenerRow(t *testing.T) {
	s, j := newListener(t)
	row := func() (status string, left time.Duration) {
		var app, topic, tag, key string
		var expire int64
		err := j.DB.QueryRowContext(ctx, "SELECT application_name, topic, tag, msg_uniq_key, status, expire_time FROM "+j.Table).
			Scan(&app, &topic, &tag, &key, &status, &expire)
		if err != nil || app != "app" || topic != "töpic" || tag != "" || key != "K'\\" {
			t.Fatalf("the row is %q %q %q %q, %v", app, topic, tag, key, err)
		}
		return status, time.Until(time.UnixMilli(expire))
	}
	c := claim(t, s, mysqlstore.ListenerKey("app", "töpic", "", "K'\\"), dedup.Fresh)
	if status, left := row(); status != "CONSUMING" || left > time.Minute+time.Second || left < time.Minute/2 {
		t.Errorf("a claim is %s for %v", status, left)
	}
	if err := s.Commit(ctx, c); err != nil {
		t.Fatal(err)
	}
	if status, left := row(); status != "CONSUMED" || left > 24*time.Hour+time.Second || left < 23*time.Hour {
		t.Errorf("a mark is %s for %v", status, left)
	}
}

// TestListenerExpired: both sides take over what has ended.
func TestListenerExpired(t *testing.T) {
	s, j := newListener(t)
	key := mysqlstore.ListenerKey("app", "t", "", "k")
	slow := javalistener.SQL{TB: t, DB: j.DB, Table: j.Table, Clock: -2 * time.Minute}
	slow.Want("", "app", "t", "", "k") // its lease has ended already by the database's clock
	c := claim(t, s, key, dedup.Fresh)
	// Its late failure deletes our row all the same: no token stops it.
	slow.Failed("app", "t", "", "k")
	if err := s.Commit(ctx, c); !errors.Is(err, dedup.ErrLeaseLost) {
		t.Errorf("Commit after Java deleted the row: %v", err)
	}
	c = claim(t, s, key, dedup.Fresh)
	// And its late success marks our claim.
	slow.Done("app", "t", "", "k")
	if err := s.Release(ctx, c); !errors.Is(err, dedup.ErrLeaseLost) {
		t.Errorf("Release after Java marked the row: %v", err)
	}
	claim(t, s, key, dedup.Duplicate)

	other := mysqlstore.ListenerKey("app", "t", "", "other")
	c = claim(t, s, other, dedup.Fresh)
	fast := javalistener.SQL{TB: t, DB: j.DB, Table: j.Table, Clock: 2 * time.Minute}
	fast.Want("", "app", "t", "", "other") // a fast clock steals a live lease
	if err := s.Commit(ctx, c); !errors.Is(err, dedup.ErrLeaseLost) {
		t.Errorf("Commit after Java took the row over: %v", err)
	}
	claim(t, s, other, dedup.InFlight)
}

// TestListenerKeys: what the columns can't hold is refused, and what the
// collation takes for the same is the same.
func TestListenerKeys(t *testing.T) {
	s, _ := newListener(t)
	long := strings.Repeat("x", 256)
	for _, key := range [][]byte{
		[]byte("no parts"), mysqlstore.ListenerKey("a", "t", "", ""), mysqlstore.ListenerKey("a", "t", long[:17], "k"),
		mysqlstore.ListenerKey("a", "t", "", long), mysqlstore.ListenerKey(long, "t", "", "k"), mysqlstore.ListenerKey("a", long, "", "k"),
		mysqlstore.ListenerKey("a", "t", "", "\xff"), mysqlstore.ListenerKey("a", "t", "", "😀"),
	} {
		if c, err := s.Claim(ctx, key); c.Verdict != dedup.Unknown || !errors.Is(err, dedup.ErrKeyInvalid) || dedup.IndexesOf(err, dedup.ErrKeyInvalid) == nil {
			t.Errorf("%.20q is %v, %v", key, c.Verdict, err)
		}
	}
	claim(t, s, mysqlstore.ListenerKey("a", "t", long[:16], long[:255]), dedup.Fresh)
	cs, err := s.ClaimBatch(ctx, nil, [][]byte{mysqlstore.ListenerKey("a", "t", "", "ABC"), mysqlstore.ListenerKey("a", "t", "", "abc")})
	if err != nil || cs[0].Verdict != dedup.Fresh || cs[1].Verdict != dedup.InFlight {
		t.Errorf("ABC and abc are %v and %v, %v", cs[0].Verdict, cs[1].Verdict, err)
	}
}

// TestListenerSweep: nothing that lives goes, and ended rows go, Java's too.
func TestListenerSweep(t *testing.T) {
	s, j := newListener(t)
	javalistener.SQL{TB: t, DB: j.DB, Table: j.Table, Clock: -time.Hour}.Want("", "app", "t", "", "ended")
	j.Want("", "app", "t", "", "held")
	c := claim(t, s, mysqlstore.ListenerKey("app", "t", "", "marked"), dedup.Fresh)
	if err := s.Commit(ctx, c); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Sweep(ctx); n != 1 || err != nil {
		t.Errorf("%d rows swept, %v; want 1", n, err)
	}
	j.Want("CONSUMING", "app", "t", "", "held")
	j.Want("CONSUMED", "app", "t", "", "marked")
}

// listenerGuard gives the conformance kit's keys a form that Java's columns hold.
type listenerGuard struct{ *mysqlstore.Store }

func listenerKey(key []byte) []byte {
	if len(key) == 0 || len(key) > dedup.MaxKeyLen {
		return key
	}
	text := hex.EncodeToString(key)
	if len(text) > 255 {
		digest := sha256.Sum256(key)
		text = "sha256:" + hex.EncodeToString(digest[:])
	}
	return mysqlstore.ListenerKey("app", "topic", "tag", text)
}

func (g listenerGuard) Claim(ctx context.Context, key []byte) (dedup.Claim, error) {
	c, err := g.Store.Claim(ctx, listenerKey(key))
	c.Key = key
	return c, err
}

func (g listenerGuard) ClaimBatch(ctx context.Context, cs []dedup.Claim, keys [][]byte) ([]dedup.Claim, error) {
	theirs := make([][]byte, len(keys))
	for i, key := range keys {
		theirs[i] = listenerKey(key)
	}
	from := len(cs)
	cs, err := g.Store.ClaimBatch(ctx, cs, theirs)
	for i, key := range keys {
		cs[from+i].Key = key
	}
	return cs, err
}

func translated(claims []dedup.Claim) []dedup.Claim {
	theirs := append([]dedup.Claim(nil), claims...)
	for i := range theirs {
		theirs[i].Key = listenerKey(theirs[i].Key)
	}
	return theirs
}

func (g listenerGuard) Commit(ctx context.Context, claims ...dedup.Claim) error {
	return g.Store.Commit(ctx, translated(claims)...)
}

func (g listenerGuard) Release(ctx context.Context, claims ...dedup.Claim) error {
	return g.Store.Release(ctx, translated(claims)...)
}

func (g listenerGuard) Extend(ctx context.Context, claim dedup.Claim, d time.Duration) (dedup.Claim, error) {
	key := claim.Key
	claim.Key = listenerKey(key)
	c, err := g.Store.Extend(ctx, claim, d)
	c.Key = key
	return c, err
}

// TestListenerGuard: the conformance kit. Its large batches are 25,000 statements
// here, so it belongs to the long forms (make servers).
func TestListenerGuard(t *testing.T) {
	if !sqltest.Long() {
		t.Skip("FIRSTSEEN_SERVERS is not long")
	}
	db, err := target.Open(servertest.Shared(t, target.Kind).Env("MARIADB_ADDR"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	guardtest.Run(t, guardtest.Config{ToldOnce: true, New: func(t testing.TB, lease time.Duration) guardtest.Subject {
		listenerTables++
		o := mysqlstore.Options{Table: fmt.Sprintf("t_rocketmq_dedup_%d", listenerTables), SweepEvery: -1, Lease: lease}
		s, err := mysqlstore.NewListener(db, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Migrate(ctx); err != nil {
			t.Fatal(err)
		}
		peer, err := mysqlstore.NewListener(db, o)
		if err != nil {
			t.Fatal(err)
		}
		return guardtest.Subject{Guard: listenerGuard{s}, Peer: listenerGuard{peer}}
	}})
}
