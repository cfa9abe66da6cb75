// Package servertest starts real servers for tests: message brokers and
// databases, on free ports of the loopback interface, in temporary directories.
// It runs scripts/brokers, which says what each kind needs. Servers end with the
// process that started them, also where that is killed or its time is up.
//
// A test that can't have its server is skipped with a message that begins with
// "!!!"; where FIRSTSEEN_REQUIRE_SERVERS is 1, it fails instead.
package servertest
