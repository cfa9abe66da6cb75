package sqltest

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/servertest"
	"github.com/firstseen/firstseen/stores/internal/sqlstore"
)

// Steps of a consumer that handles one message in a transaction. It can be
// stopped after each; at inCommit it goes on and is killed somewhere.
const (
	afterClaim = iota
	afterBegin
	afterEffect
	afterMark
	inCommit
	afterCommit
	steps
)

// inboxJob is what a consumer process does: it handles the messages From to To,
// and stops in the last one after a step.
type inboxJob struct {
	Kind     string
	Addr     string
	Admit    bool // AdmitTx instead of Claim and CommitTx
	From, To int
	Step     int
}

const inboxLease = 100 * time.Millisecond

// Killed kills consumers with SIGKILL at every step between effect and commit, and
// has the next one handle the message again. Each message has one effect then.
func (g Target) Killed(t *testing.T, times int) {
	addr := g.Addr(servertest.Shared(t, g.Kind))
	db := g.open(t, addr)
	for _, admit := range []bool{false, true} {
		s, _ := g.store(t, db, sqlstore.Options{Table: inboxTable(admit)})
		must(t, s.Migrate(ctx))
		execute(t, db, "CREATE TABLE effects_"+inboxTable(admit)+" (message int NOT NULL)") // no unique key would save it
		for i := range times / 2 {
			c := startChild(t, inboxJob{Kind: "inbox", Addr: addr, Admit: admit, From: max(i-1, 0), To: i, Step: i % steps})
			if !c.lines.Scan() {
				t.Fatalf("consumer %d ended by itself: %v", i, c.wait())
			}
			must(t, c.cmd.Process.Kill())
			_ = c.wait() // it was killed
		}
		last := startChild(t, inboxJob{Kind: "inbox", Addr: addr, Admit: admit, From: times/2 - 1, To: times/2 - 1, Step: steps})
		must(t, last.wait())
		if n := count(t, db, "SELECT count(*) FROM effects_"+inboxTable(admit)); n != times/2 {
			t.Errorf("admit %v: %d messages had %d effects", admit, times/2, n)
		}
		if n := count(t, db, "SELECT count(DISTINCT message) FROM effects_"+inboxTable(admit)); n != times/2 {
			t.Errorf("admit %v: %d of %d messages had an effect", admit, n, times/2)
		}
	}
}

func inboxTable(admit bool) string { return fmt.Sprintf("inbox_%v", admit) }

// inboxChild is a consumer.
func (g Target) inboxChild(text []byte) error {
	var job inboxJob
	if err := json.Unmarshal(text, &job); err != nil {
		return err
	}
	db, err := g.Open(job.Addr)
	if err != nil {
		return err
	}
	defer db.Close()
	s, _, err := g.New(db, sqlstore.Options{Window: time.Hour, Lease: inboxLease, Table: inboxTable(job.Admit), SweepEvery: -1})
	if err != nil {
		return err
	}
	defer s.Close()
	for message := job.From; message <= job.To; message++ {
		reached := func(step int) {
			if message != job.To || step != job.Step {
				return
			}
			say(os.Stdout, "reached")
			if step != inCommit {
				select {} // until it is killed
			}
		}
		handle := claimed
		if job.Admit {
			handle = admitted
		}
		if err := handle(db, s, message, reached); err != nil {
			return fmt.Errorf("message %d: %w", message, err)
		}
	}
	if job.Step == inCommit {
		select {}
	}
	return nil
}

// claimed handles a message under a claim.
func claimed(db *sql.DB, s Store, message int, reached func(step int)) error {
	for {
		c, err := s.Claim(ctx, fmt.Append(nil, message))
		switch {
		case err != nil:
			return err
		case c.Verdict == dedup.Duplicate:
			return nil
		case c.Verdict == dedup.InFlight: // held by a consumer that was killed
			<-time.After(time.Until(c.Expires))
			continue
		}
		reached(afterClaim)
		return inTx(db, reached, func(tx *sql.Tx) error {
			if err := effect(tx, false, message); err != nil {
				return err
			}
			reached(afterEffect)
			return s.CommitTx(ctx, tx, c)
		})
	}
}

// admitted handles a message without a claim.
func admitted(db *sql.DB, s Store, message int, reached func(step int)) error {
	reached(afterClaim)
	return inTx(db, reached, func(tx *sql.Tx) error {
		vs, err := s.AdmitTx(ctx, tx, fmt.Append(nil, message))
		if err != nil || vs[0] != dedup.Fresh {
			return err
		}
		if err := effect(tx, true, message); err != nil {
			return err
		}
		reached(afterEffect)
		return nil
	})
}

func effect(tx *sql.Tx, admit bool, message int) error {
	_, err := tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO effects_%s (message) VALUES (%d)", inboxTable(admit), message))
	return err
}

// inTx runs work in a transaction and stops at its steps.
func inTx(db *sql.DB, reached func(step int), work func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	reached(afterBegin)
	if err := work(tx); err != nil {
		return err
	}
	reached(afterMark)
	reached(inCommit)
	if err := tx.Commit(); err != nil {
		return err
	}
	reached(afterCommit)
	return nil
}
