package dedup

import "fmt"

// A Verdict says what is known of a key at the moment of the call.
//
// What a consumer does with it:
//
//	Fresh      handle the message, Commit, acknowledge it
//	           (when the handler fails: Release, negative acknowledgement)
//	Duplicate  acknowledge it, do nothing else
//	InFlight   neither handle nor acknowledge it: have it delivered again later
//	Unknown    a damaged or missing piece of the window hides the answer
type Verdict uint8

const (
	// Unknown is the zero value: nothing can be said of the key, because the
	// call failed or because a piece of the window is known to be lost and the
	// caller asked to be told so.
	Unknown Verdict = iota
	// Fresh says that no call has marked the key within the window and that
	// nobody else holds a claim on it.
	Fresh
	// Duplicate says that a call marked the key within the window.
	Duplicate
	// InFlight says that somebody holds a claim on the key that is neither
	// committed nor released and whose lease has not ended.
	InFlight
)

var verdictNames = [...]string{Unknown: "unknown", Fresh: "fresh", Duplicate: "duplicate", InFlight: "in-flight"}

// String returns the lower-case name of the verdict.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("verdict(%d)", uint8(v))
}

// MarshalText implements [encoding.TextMarshaler] with the name of the verdict.
func (v Verdict) MarshalText() ([]byte, error) {
	if int(v) >= len(verdictNames) {
		return nil, fmt.Errorf("dedup: no such verdict: %d", uint8(v))
	}
	return []byte(verdictNames[v]), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (v *Verdict) UnmarshalText(text []byte) error {
	for i, name := range verdictNames {
		if name == string(text) {
			*v = Verdict(i)
			return nil
		}
	}
	return fmt.Errorf("dedup: no such verdict: %q", text)
}
