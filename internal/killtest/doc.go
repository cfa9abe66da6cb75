// Package killtest checks what httpidem and rpcidem promise of a server that is
// killed with -9 in the middle of its requests, again and again, while clients
// retry with the same keys:
//
//   - No effect is lost that a client was told of, and every retry gets the same
//     answer.
//   - Without intents an effect comes twice only where a handler was running when
//     the server died, and once more for each such death at most.
//   - With intents no effect comes twice, and what nobody knows stays in doubt.
//
// The server is a child process, the test binary once more, whose TestMain calls
// Main. It is killed in a short form, or 50 times with FIRSTSEEN_SERVERS=long.
package killtest
