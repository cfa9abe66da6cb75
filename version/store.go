package version

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/firstseen/firstseen/dedup"
)

// ErrVersion: a version is 0 or, in SQL, above 2^63-1. The first one is 1.
var ErrVersion = errors.New("version: invalid version")

// A Verdict says what to do with an update.
type Verdict uint8

const (
	// None is the zero value: nothing can be said, because the call failed.
	None Verdict = iota
	// Apply says that the version is newer than all before, and is now recorded.
	Apply
	// Stale says that the version or a newer one was observed before.
	Stale
	// Gap says that versions between are missing (strict mode only). Nothing was
	// recorded; observe the missing ones first.
	Gap
)

var verdictNames = [...]string{None: "none", Apply: "apply", Stale: "stale", Gap: "gap"}

// String returns the lower-case name of the verdict.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("verdict(%d)", uint8(v))
}

// An Answer is what is known of an entity.
type Answer struct {
	Verdict Verdict
	// Current is the newest version after the call: with Apply the caller's own.
	// 0: no version of the entity was ever observed.
	Current uint64
}

// An Update is one version of one entity. Entities are opaque bytes, 1 to
// dedup.MaxKeyLen of them.
type Update struct {
	Entity  []byte
	Version uint64 // from 1
}

// Options of a Store. The zero value is ready.
type Options struct {
	// Strict answers Gap unless a version is the current one plus 1; an unknown
	// entity begins with version 1. It can be changed at each opening.
	Strict bool
	// Logger gets what Badger has to say. By default nothing is logged.
	Logger *slog.Logger
}

// A Store keeps the versions of all entities in one directory.
type Store struct {
	opts  Options
	db    *database
	asked chan *question

	ending sync.Once
	closed chan struct{} // closed by Close
	done   chan struct{} // closed by the committer when it has ended
	err    error         // of closing; read after done
}

// Open opens the store in dir, and makes it where dir is absent or empty. It
// reads every value once. Close it when done.
//
// Errors: dedup.ErrLocked, dedup.ErrCorrupt (*dedup.CorruptError).
func Open(dir string, opts Options) (*Store, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	db, err := openDatabase(dir, opts.Logger)
	if err != nil {
		return nil, fmt.Errorf("version: opening %s: %w", dir, err)
	}
	s := &Store{opts: opts, db: db, asked: make(chan *question, 1024), closed: make(chan struct{}), done: make(chan struct{})}
	go s.commit() // ended by Close
	return s, nil
}

// Close ends the store; calls under way are answered first, later ones get
// dedup.ErrClosed.
func (s *Store) Close() error {
	s.ending.Do(func() { close(s.closed) })
	<-s.done
	return s.err
}

// Observe asks for one update, and records its version where the verdict is
// Apply. It answers when that is durable.
//
// Errors: dedup.ErrKeyInvalid, ErrVersion, dedup.ErrClosed; dedup.ErrCorrupt where
// the entity's value is damaged; dedup.ErrFailed after a failed write, until the
// store is opened again. With an error nothing is known, and the verdict is None.
func (s *Store) Observe(ctx context.Context, entity []byte, version uint64) (Answer, error) {
	q := question{updates: []Update{{entity, version}}, answers: make([]Answer, 1)}
	err := s.ask(ctx, &q)
	return q.answers[0], err
}

// ObserveBatch asks for many updates and appends one answer for each to as, in
// their order. Updates of one entity are answered one after the other. The bad
// ones of a batch (*dedup.KeyError, ErrVersion) get None, and the others their
// answers.
func (s *Store) ObserveBatch(ctx context.Context, as []Answer, updates []Update) ([]Answer, error) {
	as = append(as, make([]Answer, len(updates))...)
	answers := as[len(as)-len(updates):]
	var errs []error
	for from := 0; from < len(updates); from += maxGroup {
		to := min(from+maxGroup, len(updates))
		q := question{updates: updates[from:to], answers: answers[from:to], first: from}
		if err := s.ask(ctx, &q); err != nil {
			errs = append(errs, err)
		}
	}
	return as, errors.Join(errs...)
}

// Current returns the newest version of an entity, 0 where there is none.
func (s *Store) Current(ctx context.Context, entity []byte) (uint64, error) {
	q := question{updates: []Update{{entity, 1}}, answers: make([]Answer, 1), look: true}
	err := s.ask(ctx, &q)
	return q.answers[0].Current, err
}

// check refuses an update that can't be asked for.
func (u *Update) check(i int) error {
	if n := len(u.Entity); n == 0 || n > dedup.MaxKeyLen {
		return &dedup.KeyError{Index: i, Len: n}
	}
	if u.Version == 0 {
		return fmt.Errorf("%w: update %d of the call has version 0", ErrVersion, i)
	}
	return nil
}
