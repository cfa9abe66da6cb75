// Package adaptertest checks that a broker's adapter keeps its promise on a real
// broker: every message's effect at least once, and a second time only where a
// handler had run when its process was killed.
//
//	var config = adaptertest.Config{
//		Name:     "nats",
//		NewTopic: newStream, // on the broker that the test started
//		Produce:  produce,
//		Consume:  consume,
//		Guard:    openEngine,
//	}
//
//	func TestMain(m *testing.M) { adaptertest.Main(m, config) }
//
//	func TestAdapter(t *testing.T) { adaptertest.Run(t, config) }
//
//	func TestStorm(t *testing.T) {
//		adaptertest.RunStorm(t, config, adaptertest.Storm{Messages: 100_000, Kills: 20})
//	}
//
// # How it works
//
// Run has a topic made for every case. Most cases run their consumers in the test's
// process: handlers that fail, panic or are slow, twins on two consumers, a store
// that is down, bad messages, a shutdown under load. The cases Crash… and the storm
// run them in child processes, which [Main] turns the test binary into, and kill
// those with SIGKILL: at a certain step, or at random. What handlers did is read
// from files that each process appends to, so it outlives the process.
//
// # Who may call at once
//
// Cases of one Run follow each other. Several Runs may go on at once.
//
// # What it does not do
//
// It starts no broker, and it measures nothing.
package adaptertest
