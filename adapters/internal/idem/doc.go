// Package idem decides what becomes of an operation with an idempotency key. It
// is the part that HTTP and RPC have in common: httpidem and rpcidem read a
// request, ask here, and say the answer in the words of their protocol.
//
// # The way of an operation
//
//  1. [Operation.Ask] claims the key, and waits for a twin where that is wanted.
//  2. A marked key: [Operation.Read] gives the payload of the stored answer, or
//     says why there is none.
//  3. A fresh key: [Operation.Run] makes a [Run]. Its Begin notes the intent,
//     Start keeps the lease while the handler works, and one of Commit, NotFinal
//     and Abandon ends it.
//
// An answer is given to the client after Commit has returned nil, and not before.
//
// Operations belong to one goroutine; a Config may be shared by any number.
package idem
