package redisstore

const listenerPrefix = "MSGDEDUP:"

// ListenerKey returns the key under which RocketMQDedupListener knows a message, for
// a Store with Options.DedupListener: app:topic:tag:key, or app:topic:key without a
// tag. On a retry the topic is the message's first one, not the retry topic.
//
// Such a Store and Java consumers share one memory while a team migrates. Records
// and values are Java's: MSGDEDUP:<key> is CONSUMING for the lease (Java's is 60 s)
// and CONSUMED for the window (Java's is 24 hours). What is different:
//
//   - Who owns a claim stands in a second key, firstseen:owner:<record>, since any
//     other value makes Java run the handler. Between Go consumers a token ends a
//     claim, as always.
//   - Java compares no owner. Its late failure deletes a Go consumer's record, whether
//     claim or mark, and its late success marks a Go consumer's claim (whose Commit
//     then says ErrLeaseLost). No Go consumer can prevent that.
//   - A claim whose record Java deleted is still held for Go: Commit writes the mark.
//     If another Java consumer has claimed the key since, that mark ends its claim.
//   - A claim is one script, so that a record can't end between SET and GET; with
//     Java's two steps it can, and Java then runs the handler without a record.
//   - Extend lengthens a record beyond 60 s; Java honours it.
//   - Results aren't kept: Commit of one says ErrResultTooLarge, once; the record of a
//     result that was too large looks like any other.
//   - (tag "", key "T1:42") is the same record as (tag "T1", key "42"), because Java
//     joins parts without their lengths.
//   - A value that is neither CONSUMING nor CONSUMED is an error; Java would run the
//     handler.
//   - Keys are not digested, however long, and clusters are refused: the two keys of a
//     record may lie in different slots.
//   - Lost records are noticed as always, those that Go wrote.
func ListenerKey(app, topic, tag, key string) []byte {
	name := app + ":" + topic
	if tag != "" {
		name += ":" + tag
	}
	return []byte(name + ":" + key)
}
