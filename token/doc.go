// Package token issues texts that allow one operation once: a form that may be
// sent once, a link in a mail, a coupon. A token needs no storage until it is
// redeemed; redeeming it is a claim in a [dedup.Guard].
//
// It guarantees: nobody without a key can make a token, or change what one is
// good for; of all who redeem a token within its time one wins, until he
// releases the claim or its lease ends; a token that was redeemed and committed
// is never redeemed again, because the guard remembers it longer than it is valid.
//
// # How it works
//
// A token is base64url without padding (RFC 4648, section 5) of
//
//	offset  bytes  content
//	0       1      version, 1
//	1       4      id of the key, big endian
//	5       8      end of its time, milliseconds since 1970, big endian
//	13      16     random
//	29      32     HMAC-SHA-256 with the key, of "firstseen token", bytes 0 to 28,
//	               and subject and operation joined by keys.Append
//
// Subject and operation are not in the token: who redeems it names them, and
// a token for another one is as good as a forged one. The guard's key is the
// random part, joined to the name of this package.
//
// Replicas share tokens when they share keys and guard, and their clocks agree.
// To rotate, add a new key at the end of every replica's list, then move it to
// the front, and remove the old one when the last of its tokens has expired.
//
// All functions may be called by any number of goroutines at once. What the
// package does not do: it hides nothing from the holder of a token, and binds a
// token to nobody but the subject that you name.
package token
