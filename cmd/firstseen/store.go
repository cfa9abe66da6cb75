package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/redis/go-redis/v9"

	"github.com/firstseen/firstseen/dedup"
	mysqlstore "github.com/firstseen/firstseen/stores/mysql"
	pgstore "github.com/firstseen/firstseen/stores/postgres"
	redisstore "github.com/firstseen/firstseen/stores/redis"
)

// storeOpenLimit bounds the first talk with a store.
const storeOpenLimit = 30 * time.Second

// openStore opens what --store names and returns it with what closes it.
func openStore(ctx context.Context, a *app, o filterFlags) (dedup.Guard, func() error, error) {
	u, err := url.Parse(o.store)
	if err != nil {
		// Not err: it holds the whole URL, and with it the password.
		return nil, nil, usagef("--store is no URL such as redis://HOST:6379/0?prefix=NAME")
	}
	ctx, cancel := context.WithTimeout(ctx, storeOpenLimit)
	defer cancel()
	var g dedup.Guard
	var done func() error
	switch u.Scheme {
	case "redis", "rediss", "redis-cluster", "rediss-cluster":
		g, done, err = openRedis(a, o, u)
	case "mysql", "postgres", "postgresql":
		g, done, err = openSQL(ctx, a, o, u)
	default:
		return nil, nil, usagef("--store takes redis://, redis-cluster://, mysql:// or postgres://, not %q", u.Scheme+"://")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("store %s: %w", u.Redacted(), err)
	}
	return g, done, nil
}

// take removes a parameter of ours from a URL that a client is to read.
func take(u *url.URL, name string) string {
	q := u.Query()
	v := q.Get(name)
	q.Del(name)
	u.RawQuery = q.Encode()
	return v
}

func openRedis(a *app, o filterFlags, at *url.URL) (dedup.Guard, func() error, error) {
	u := *at
	opts := redisstore.Options{Window: time.Duration(o.window), Lease: time.Duration(o.lease), Logger: a.logger(), Prefix: take(&u, "prefix")}
	var client redis.UniversalClient
	if scheme, cluster := strings.CutSuffix(u.Scheme, "-cluster"); cluster {
		u.Scheme = scheme
		co, err := redis.ParseClusterURL(u.String())
		if err != nil {
			return nil, nil, err
		}
		client = redis.NewClusterClient(co)
	} else {
		ro, err := redis.ParseURL(u.String())
		if err != nil {
			return nil, nil, err
		}
		client = redis.NewClient(ro)
	}
	s, err := redisstore.New(client, opts)
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return s, client.Close, nil
}

// A sqlStore is what the two have in common.
type sqlStore interface {
	dedup.Guard
	Migrate(ctx context.Context) error
	Ping(ctx context.Context) error
	Close() error
}

func openSQL(ctx context.Context, a *app, o filterFlags, at *url.URL) (dedup.Guard, func() error, error) {
	u := *at
	opts := mysqlstore.Options{Window: time.Duration(o.window), Lease: time.Duration(o.lease), Logger: a.logger(), Table: take(&u, "table")}
	driver, source := "pgx", u.String()
	if u.Scheme == "mysql" {
		driver, source = "mysql", mysqlSource(&u)
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		return nil, nil, err
	}
	var s sqlStore
	if driver == "mysql" {
		s, err = mysqlstore.New(db, opts)
	} else {
		s, err = pgstore.New(db, opts)
	}
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	done := func() error { return errors.Join(s.Close(), db.Close()) }
	if o.migrate {
		err = s.Migrate(ctx)
	}
	if err == nil {
		err = s.Ping(ctx)
	}
	if err != nil {
		return nil, nil, errors.Join(err, done())
	}
	return s, done, nil
}

// mysqlSource is a URL in the form that the driver reads.
func mysqlSource(u *url.URL) string {
	c := mysql.NewConfig()
	c.User = u.User.Username()
	c.Passwd, _ = u.User.Password()
	c.Net, c.Addr = "tcp", u.Host
	if u.Port() == "" {
		c.Addr = net.JoinHostPort(u.Hostname(), "3306")
	}
	c.DBName = strings.TrimPrefix(u.Path, "/")
	source := c.FormatDSN()
	if u.RawQuery == "" {
		return source
	}
	if strings.Contains(source, "?") {
		return source + "&" + u.RawQuery
	}
	return source + "?" + u.RawQuery
}
