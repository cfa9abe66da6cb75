// Package sqlstore is what the SQL stores have in common: everything but their
// statements. It checks and encodes keys, gives claims their tokens, puts keys
// in order so that calls don't deadlock, splits large calls, repeats what the
// database asks to be repeated, names the claims that are lost, and sweeps
// expired rows. A [Dialect] brings the statements.
//
// # The row of a key
//
//	key           the key itself, or a digest of a long one; the primary key
//	token         of the claim; once the key is marked, of the call that marked it
//	state         claimed, marked, or marked with a result too large to be kept
//	valid_until   the end of the lease or of the mark, by the database's clock
//	delete_after  when the sweeper may take the row away; has an index
//	result        kept with the mark, or NULL
//
// A row decides about its key as long as valid_until lies in the future. After
// that, a claim of the key takes the row over. delete_after is set by the claim
// to a time that the mark will not exceed, so that a commit doesn't have to move
// the row in the index.
//
// All times are the database's. Clients compare and store no time of their own:
// they get the time that is left and add it to their own clock as it was before
// the call, so that a lease never looks longer than it is.
package sqlstore
