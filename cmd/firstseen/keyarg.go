package main

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/firstseen/firstseen/internal/record"
)

const keyHelp = `KEY is the text that filter takes from a record: a line without its line end, a
field without its quotes, the text of a JSON string; "" is the empty line. Where the
key of DIR has several fields there is one KEY for each. What filter leaves out of
account for DIR (--skip, --trim, --ignore-case) doesn't count here either. For keys
of other programs, or with bytes that can't be typed, --hex takes the stored bytes in
hexadecimal.

With - for KEY the keys are read from standard input: one on each line, its fields
with tabs between them. Each is printed behind its answer and a tab. With -z they end
with a zero byte, there and here.`

// keyArgs reads keys from the command line or a list.
type keyArgs struct {
	key   record.Key // of the directory
	isHex bool
}

// newKeyArgs returns what reads the keys of a directory.
func newKeyArgs(dir string, isHex bool) (keyArgs, error) {
	if err := requireDir(dir); err != nil {
		return keyArgs{}, err
	}
	kind, ok, err := readKind(dir)
	if err != nil || !ok {
		return keyArgs{isHex: isHex}, err
	}
	key, err := kind.key()
	return keyArgs{key: key, isHex: isHex}, err
}

// parse appends the key of the given fields, as the engine knows it.
func (k keyArgs) parse(dst []byte, fields ...[]byte) ([]byte, error) {
	if !k.isHex {
		dst, err := k.key.AppendTexts(dst, fields...)
		if err != nil {
			return dst, usagef("%w", err)
		}
		return dst, nil
	}
	if len(fields) != 1 {
		return dst, usagef("--hex takes one KEY, not %d", len(fields))
	}
	from := len(dst)
	dst, err := hex.AppendDecode(dst, fields[0])
	switch {
	case err != nil:
		return dst, usagef("KEY %q is no hexadecimal number with an even number of digits", fields[0])
	case len(dst) == from:
		return dst, usagef("KEY is empty, and a stored key never is")
	}
	return dst, nil
}

// needKeys is an Args check for DIR and at least one KEY.
func needKeys(path string, args []string) error {
	for i, name := range []string{"DIR", "KEY"} {
		if len(args) <= i {
			return usagef("%s needs %s", path, name)
		}
	}
	return nil
}

// noAnswer gives err the exit code that is neither yes nor no.
func noAnswer(err error) error {
	var exit *exitError
	if err == nil || errors.As(err, &exit) {
		return err
	}
	return &exitError{code: exitUnanswered, err: fmt.Errorf("%w", err)}
}
