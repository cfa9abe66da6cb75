// Package redisstore is a [dedup.Guard] whose memory of keys is a Redis server, a
// Redis Cluster or a server behind Sentinel, for processes that must share one and
// whose keys no partitioning gives a single owner.
//
// # What it guarantees
//
// Each claim, commit, release and extension is one atomic script. Of all claims of
// a key, by any number of processes, one is Fresh until it is released or its lease
// ends; a token ends a claim, and a stale owner's commit or release changes nothing.
// Leases and windows run by the server's clock, so that the clients' clocks don't
// matter. Keys are bytes; those of more than 255 are stored as their SHA-256.
//
// A mark is as durable as the server makes it: with appendonly yes and appendfsync
// always it survives a power cut; with everysec a kill of the server can take the last
// two seconds, since it puts a write off while a sync runs; without persistence,
// nothing. A failover loses what had not reached the replica.
//
// # Lost records are noticed
//
// Redis loses acknowledged writes without a word: in a failover, in a restart, in a
// flush, by eviction. Every call of a Store therefore increments a counter of this
// Store on the server as well (in a cluster one for each bucket of keys, since a
// script stays on one node). An answer that is not above the largest counter that was
// acknowledged before its call was sent proves that acknowledged writes are gone.
// Evictions show in evicted_keys. What is done about a gap says [Options.OnGap].
//
// A gap is noticed by the Store whose writes are lost, at its next call to that
// bucket: the answers of other Stores, and answers given before that call, may have
// been Fresh for keys that were marked. [Store.Ping] calls every bucket. A process
// that dies together with the server notices nothing.
//
// # How it works
//
// A record is one string: the claim's token, or the mark with its result. It expires
// with the window or, while it is a claim, ten minutes after its lease: so long a
// late commit is accepted if nobody else has taken the key. Records are named
// prefix{bucket}:key. In a cluster a batch becomes one script for each bucket, all
// of one node in one round trip; elsewhere one for each thousand keys, in one round
// trip.
//
// The Store sends again what got no answer, and no call twice without knowing it:
// the client's own retries are off for its scripts. It uses the client that it is
// given, and neither dials nor closes it. It starts no goroutine that stays.
//
// # Who may call at once
//
// Any number of goroutines and processes. All Stores with the same Prefix must have
// the same Buckets; New refuses others.
//
// # What it does not do
//
// It does not wait for replicas. It takes no redis.Ring: that moves keys to other
// servers when one is gone. It does not make a message's effect and its mark one
// transaction; a store in the database of the effect can.
package redisstore
