// Package guardtest checks that a [dedup.Guard] does what its documentation
// says. The engine, the shared stores and the wrappers of this project pass it,
// and a guard of your own should:
//
//	func TestGuard(t *testing.T) {
//		guardtest.Run(t, guardtest.Config{
//			New: func(t testing.TB, lease time.Duration) guardtest.Subject {
//				g := open(t, lease)
//				return guardtest.Subject{Guard: g, Peer: g.anotherClient(t)}
//			},
//			MaxResult: 4096,
//		})
//	}
//
// # How it works
//
// Run makes an empty subject for every case, so that cases don't depend on each
// other. What a guard can't do is said by fields of [Config] and [Subject] that
// stay zero: their cases are left out, and Run logs which.
//
// Leases end under a fake clock where [Subject.Advance] is given. Otherwise the
// suite shortens them with Extend to some tens of milliseconds and waits for
// the real clock; no case fails because the machine is slow.
//
// The cases named Hole01 to Hole14 are the known faults of RocketMQDedupListener,
// each turned into a demand, as far as they concern a guard. The others (joined
// key parts, changing message ids, broadcasting) concern adapters.
//
// # Who may call at once
//
// Run uses the guards it gets from many goroutines, so run it with the race
// detector as well. Several Runs may go on at once if New makes independent
// subjects.
//
// # What it does not do
//
// It measures nothing, and it doesn't check what survives kill -9 or a power
// cut: Reopen is an orderly restart.
package guardtest
