package main

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/firstseen/firstseen/adapters/intents"
	"github.com/firstseen/firstseen/adapters/intents/sqlintents"
	"github.com/firstseen/firstseen/dedup"
)

const intentsHelp = `WHERE is the file of a service with an embedded engine (intents.Open), or the
database of a shared store: postgres://USER:PASSWORD@HOST/DATABASE or mysql://….`

func newIntents(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "intents",
		Short: "Show and settle operations whose outcome is in doubt",
		Long: `A web service that notes durable intents leaves operations in doubt when it dies
in the middle of them: they are neither run again nor answered until somebody says
what happened.

` + intentsHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("%s has no command %q", cmd.CommandPath(), args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usagef("%s needs list or resolve", cmd.CommandPath())
		},
	}
	cmd.AddCommand(newIntentsList(a), newIntentsResolve(a))
	return cmd
}

func newIntentsList(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list WHERE",
		Short: "Show intents that have not ended",
		Long: `Shows intents that have not ended, oldest first: operations that are running,
those in doubt, and those settled that nobody has asked for since. One that is older
than any operation takes is in doubt. A file may be in use.

` + intentsHelp,
		Example: `  firstseen intents list /var/lib/pay/intents
  firstseen intents list --json postgres://pay@db/pay`,
		Args: exactly("WHERE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := listIntents(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if asJSON {
				if all == nil {
					all = []intents.Intent{}
				}
				return printJSON(a.out, all)
			}
			return printIntents(a, all)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; keys and bodies are in base64")
	return cmd
}

func printIntents(a *app, all []intents.Intent) error {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "BEGUN\tOUTCOME\tNAME\tKEY")
	for _, in := range all {
		fmt.Fprintf(w, "%s\t%s\t%q\t%s\n", in.Begun.UTC().Format(time.RFC3339), outcomeWord(in.Outcome), in.Name, hex.EncodeToString(in.Key))
	}
	return w.Flush()
}

func outcomeWord(o intents.Outcome) string {
	switch o.Kind {
	case intents.NeverHappened:
		return "never happened"
	case intents.Happened:
		return "happened"
	}
	return "open"
}

func newIntentsResolve(a *app) *cobra.Command {
	var happened, never bool
	var o intents.Outcome
	var body string
	cmd := &cobra.Command{
		Use:   "resolve WHERE KEY",
		Short: "Say what happened to an operation in doubt",
		Long: `Settles the intent of KEY: its name, where one intent alone has it, or its key in
hexadecimal, as list shows them. With --never the next request with the key runs;
with --happened it is answered with --status and --body, or, without a status, told
that the answer is not known. Look first: an operation that is still running is in
the list, too.

A file must not be in use: stop the service, or have it settle by itself
(Options.Settle). A database may be.

` + intentsHelp,
		Example: `  firstseen intents resolve intents 'POST /pay 42' --never
  firstseen intents resolve postgres://pay@db/pay 'POST /pay 42' --happened \
      --status 201 --content-type application/json --body '{"payment":7}'`,
		Args: exactly("WHERE", "KEY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if happened == never {
				return usagef("say either --happened or --never")
			}
			o.Kind, o.Body = intents.NeverHappened, []byte(body)
			if happened {
				o.Kind = intents.Happened
			}
			if err := intents.CheckOutcome(o); err != nil {
				return usagef("%w", err)
			}
			if err := resolveIntent(cmd.Context(), args[0], args[1], o); err != nil {
				return err
			}
			return a.answer("settled")
		},
	}
	cmd.Flags().BoolVar(&happened, "happened", false, "the effect happened")
	cmd.Flags().BoolVar(&never, "never", false, "the effect did not happen")
	cmd.Flags().IntVar(&o.Status, "status", 0, "status of the answer that retries get (for an RPC: 200)")
	cmd.Flags().StringVar(&o.ContentType, "content-type", "", "its Content-Type (for an RPC: the message's full name)")
	cmd.Flags().StringVar(&body, "body", "", "its body")
	return cmd
}

func listIntents(ctx context.Context, where string) ([]intents.Intent, error) {
	if !strings.Contains(where, "://") {
		return intents.Read(where)
	}
	table, done, err := openTable(where)
	if err != nil {
		return nil, err
	}
	all, err := table.List(ctx)
	return all, errors.Join(err, done())
}

func resolveIntent(ctx context.Context, where, key string, o intents.Outcome) (err error) {
	all, err := listIntents(ctx, where)
	if err != nil {
		return err
	}
	found, err := findIntent(all, key)
	if err != nil {
		return err
	}
	store, done, err := openIntents(where)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	return store.Resolve(ctx, found, o)
}

// findIntent returns the key of the one intent that is named so.
func findIntent(all []intents.Intent, name string) (key []byte, err error) {
	for _, in := range all {
		switch {
		case hex.EncodeToString(in.Key) == name:
			return in.Key, nil
		case in.Name != name:
		case key != nil:
			return nil, fmt.Errorf("several intents are named %q: give the key that list shows", name)
		default:
			key = in.Key
		}
	}
	if key == nil {
		return nil, fmt.Errorf("no intent has the name or the key %q", name)
	}
	return key, nil
}

// openIntents opens a store of intents and returns it with what closes it.
func openIntents(where string) (intents.Store, func() error, error) {
	if strings.Contains(where, "://") {
		return openTable(where)
	}
	if _, err := os.Stat(where); err != nil {
		return nil, nil, err
	}
	f, err := intents.Open(where)
	if errors.Is(err, dedup.ErrLocked) {
		return nil, nil, fmt.Errorf("%q is in use: stop the service first: %w", where, err)
	}
	if err != nil {
		return nil, nil, err
	}
	return f, f.Close, nil
}

func openTable(where string) (*sqlintents.Table, func() error, error) {
	u, err := url.Parse(where)
	if err != nil {
		// Not err: it holds the whole URL, and with it the password.
		return nil, nil, usagef("WHERE is no URL such as postgres://USER:PASSWORD@HOST/DATABASE")
	}
	driver, source, dialect := "pgx", where, sqlintents.PostgreSQL
	switch u.Scheme {
	case "postgres", "postgresql":
	case "mysql":
		driver, source, dialect = "mysql", mysqlSource(u), sqlintents.MySQL
	default:
		return nil, nil, usagef("WHERE is a file, mysql:// or postgres://, not %q", u.Scheme+"://")
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", u.Redacted(), err)
	}
	table, err := sqlintents.New(db, dialect)
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return table, db.Close, nil
}
