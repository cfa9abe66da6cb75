package main

import (
	"encoding/hex"
	"errors"

	"github.com/firstseen/firstseen/internal/record"
)

const keyHelp = `KEY is the text that filter takes from a record: a line without its line end, a
field without its quotes, the text of a JSON string; "" is the empty line. For
keys of other programs, or with bytes that can't be typed, --hex takes the
stored bytes in hexadecimal.`

// parseKeyArg turns a command-line argument into the key that the engine knows.
func parseKeyArg(arg string, isHex bool) ([]byte, error) {
	if !isHex {
		return record.AppendKey(nil, []byte(arg)), nil
	}
	key, err := hex.DecodeString(arg)
	if err != nil {
		return nil, usagef("KEY %q is no hexadecimal number with an even number of digits", arg)
	}
	if len(key) == 0 {
		return nil, usagef("KEY is empty, and a stored key never is")
	}
	return key, nil
}

// noAnswer gives err the exit code that is neither yes nor no.
func noAnswer(err error) error {
	var exit *exitError
	if err == nil || errors.As(err, &exit) {
		return err
	}
	return &exitError{code: exitUnanswered, err: err}
}
