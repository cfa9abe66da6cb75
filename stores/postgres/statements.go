package pgstore

import (
	"strings"

	"github.com/firstseen/firstseen/stores/internal/sqlstore"
)

// In all statements now is the time at which the statement began. In the
// caller's transaction now() would be the transaction's beginning.
const now = `statement_timestamp()`

// claimStatement: $1 keys, $2 their positions, $3 nonce, $4 states, $5 results,
// $6 µs to valid_until, $7 µs to delete_after.
//
// New rows are inserted without a look at what is there, which is all that a batch
// of fresh keys costs. What was not inserted is looked up in the statement's
// snapshot, without a lock, and taken over if it has ended. Another call may add
// a row after the snapshot was taken, or be first to take one over: then the key
// comes out in no way and is asked for again.
//
// The look-up is a subquery for each key (OFFSET 0 keeps it one): with a join, a
// plan that was made while the table was small would go on reading all of it.
const claimStatement = `
WITH input AS MATERIALIZED (
	SELECT * FROM unnest($1::bytea[], $2::int4[], $4::int2[], $5::bytea[]) AS u(key, at, state, result)
), won AS (
	INSERT INTO {table} AS t (key, token, state, valid_until, delete_after, result)
	SELECT key, $3::bytea || int4send(at), state, {now} + $6::int8 * interval '1 microsecond',
		{now} + $7::int8 * interval '1 microsecond', result
	FROM input ORDER BY key
	ON CONFLICT (key) DO NOTHING
	RETURNING substr(t.token, 13) AS at
), there AS MATERIALIZED (
	SELECT input.key, input.at, input.state AS new_state, input.result AS new_result, s.*
	FROM input CROSS JOIN LATERAL (
		SELECT state, result, valid_until FROM {table} s WHERE s.key = input.key OFFSET 0
	) s
	WHERE NOT EXISTS (SELECT FROM won WHERE won.at = int4send(input.at))
), taken AS (
	UPDATE {table} AS t SET token = $3::bytea || int4send(there.at), state = there.new_state, result = there.new_result,
		valid_until = {now} + $6::int8 * interval '1 microsecond', delete_after = {now} + $7::int8 * interval '1 microsecond'
	FROM there WHERE there.valid_until <= {now} AND t.key = there.key AND t.valid_until <= {now}
	RETURNING substr(t.token, 13) AS at
)
SELECT -1, string_agg(at, ''), 0, 0::int8, NULL::bytea FROM (SELECT at FROM won UNION ALL SELECT at FROM taken) AS ours
UNION ALL
SELECT at, NULL, state, (extract(epoch FROM valid_until - {now}) * 1000000)::int8, result FROM there WHERE valid_until > {now}`

// commitStatement: $1 keys, $2 tokens, $3 states, $4 results, $5 the token of the
// mark, $6 µs of the window.
const commitStatement = `
WITH done AS (
	UPDATE {table} AS t SET token = $5::bytea, state = input.state, result = input.result,
		valid_until = {now} + $6::int8 * interval '1 microsecond',
		delete_after = greatest(t.delete_after, {now} + $6::int8 * interval '1 microsecond')
	FROM unnest($1::bytea[], $2::bytea[], $3::int2[], $4::bytea[]) WITH ORDINALITY AS input(key, token, state, result, n)
	WHERE t.key = input.key AND t.token = input.token AND t.state = 0
	RETURNING input.n
)
SELECT string_agg(int4send(n::int4 - 1), '') FROM done`

// releaseStatement: $1 keys, $2 tokens.
const releaseStatement = `
WITH done AS (
	DELETE FROM {table} AS t USING unnest($1::bytea[], $2::bytea[]) WITH ORDINALITY AS input(key, token, n)
	WHERE t.key = input.key AND t.token = input.token AND t.state = 0
	RETURNING input.n
)
SELECT string_agg(int4send(n::int4 - 1), '') FROM done`

// extendStatement: $1 key, $2 token, $3 µs to valid_until, $4 µs to delete_after.
const extendStatement = `
UPDATE {table} SET valid_until = {now} + $3::int8 * interval '1 microsecond',
	delete_after = greatest(delete_after, {now} + $4::int8 * interval '1 microsecond')
WHERE key = $1::bytea AND token = $2::bytea AND state = 0`

const containsStatement = `SELECT 1 FROM {table} WHERE key = $1::bytea AND state <> 0 AND valid_until > {now}`

const forgetStatement = `DELETE FROM {table} WHERE key = $1::bytea AND state <> 0`

// sweepStatement: $1 where the last chunk ended, as µs since 1970, $2 rows. The
// index still has entries of deleted rows, so a chunk doesn't begin at the first
// again. One millisecond is for rounding.
const sweepStatement = `
WITH doomed AS MATERIALIZED (
	SELECT ctid, delete_after FROM {table}
	WHERE delete_after <= {now} AND delete_after >= to_timestamp($1::int8 / 1000000.0) - interval '1 millisecond'
	ORDER BY delete_after LIMIT $2::int8 FOR UPDATE SKIP LOCKED
), gone AS (
	DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM doomed)) RETURNING 1
)
SELECT (SELECT count(*) FROM doomed), (SELECT count(*) FROM gone),
	(SELECT coalesce((extract(epoch FROM max(delete_after)) * 1000000)::int8, 0) FROM doomed)`

// Rows are updated once, in the page in which they lie if it has room, so pages
// are left with some.
var createStatements = []string{`
CREATE TABLE {table} (
	key bytea PRIMARY KEY,
	token bytea NOT NULL,
	state int2 NOT NULL,
	valid_until timestamptz NOT NULL,
	delete_after timestamptz NOT NULL,
	result bytea
) WITH (fillfactor = 70)`,
	`CREATE INDEX {base}_delete_after ON {table} (delete_after)`,
}

func fill(table string) func(string) string {
	return strings.NewReplacer("{table}", table, "{base}", sqlstore.Base(table), "{versions}", sqlstore.VersionTable(table),
		"{now}", now).Replace
}
