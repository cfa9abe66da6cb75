package sqlintents

type statements struct{ create, begin, get, end, resolve, list string }

const columns = `intent_key, name, begun, fingerprint, outcome, status, content_type, body`

var postgres = statements{
	create: `CREATE TABLE IF NOT EXISTS firstseen_intents (
  digest bytea PRIMARY KEY,
  intent_key bytea NOT NULL,
  name text NOT NULL,
  begun bigint NOT NULL,
  fingerprint bytea NOT NULL,
  outcome smallint NOT NULL DEFAULT 0,
  status integer NOT NULL DEFAULT 0,
  content_type text,
  body bytea
)`,
	begin: `INSERT INTO firstseen_intents (digest, intent_key, name, begun, fingerprint)
VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
	get:     `SELECT ` + columns + ` FROM firstseen_intents WHERE digest = $1`,
	end:     `DELETE FROM firstseen_intents WHERE digest = $1`,
	resolve: `UPDATE firstseen_intents SET outcome = $1, status = $2, content_type = $3, body = $4 WHERE digest = $5`,
	list:    `SELECT ` + columns + ` FROM firstseen_intents ORDER BY begun, digest`,
}

var mysql = statements{
	create: `CREATE TABLE IF NOT EXISTS firstseen_intents (
  digest binary(32) NOT NULL PRIMARY KEY,
  intent_key mediumblob NOT NULL,
  name mediumtext CHARACTER SET utf8mb4 NOT NULL,
  begun bigint NOT NULL,
  fingerprint binary(16) NOT NULL,
  outcome smallint NOT NULL DEFAULT 0,
  status int NOT NULL DEFAULT 0,
  content_type text CHARACTER SET utf8mb4,
  body longblob
) ENGINE=InnoDB`,
	// Not ON DUPLICATE KEY UPDATE: where the client asks for found rows instead of
	// changed ones (clientFoundRows) a row that was there before counts as inserted.
	begin: `INSERT IGNORE INTO firstseen_intents (digest, intent_key, name, begun, fingerprint)
VALUES (?, ?, ?, ?, ?)`,
	get:     `SELECT ` + columns + ` FROM firstseen_intents WHERE digest = ?`,
	end:     `DELETE FROM firstseen_intents WHERE digest = ?`,
	resolve: `UPDATE firstseen_intents SET outcome = ?, status = ?, content_type = ?, body = ? WHERE digest = ?`,
	list:    `SELECT ` + columns + ` FROM firstseen_intents ORDER BY begun, digest`,
}
