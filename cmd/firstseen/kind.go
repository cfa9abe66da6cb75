package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/firstseen/firstseen/internal/record"
)

// kindName is the file of a directory that says what its keys are. It is the
// command's, the engine knows keys as bytes.
const kindName = "KEY"

// A keyKind is what the file holds.
type keyKind struct {
	Key        string `json:"key"` // as --key has it
	Delimiter  string `json:"delimiter,omitempty"`
	IgnoreCase bool   `json:"ignore_case,omitempty"`
	Trim       bool   `json:"trim,omitempty"`
	Skip       int    `json:"skip,omitempty"`
}

func kindOf(k record.Key) keyKind {
	o := k.Options()
	kind := keyKind{Key: k.String(), IgnoreCase: o.IgnoreCase, Trim: o.Trim, Skip: o.Skip}
	if o.Delimiter != 0 {
		kind.Delimiter = string(rune(o.Delimiter))
	}
	return kind
}

// String is the kind as options of the command line.
func (k keyKind) String() string {
	s := []string{"--key " + k.Key}
	if k.Delimiter != "" {
		s = append(s, fmt.Sprintf("--delimiter %q", k.Delimiter))
	}
	if k.Skip > 0 {
		s = append(s, fmt.Sprintf("--skip %d", k.Skip))
	}
	if k.Trim {
		s = append(s, "--trim")
	}
	if k.IgnoreCase {
		s = append(s, "--ignore-case")
	}
	return strings.Join(s, " ")
}

// key is the kind as what finds keys.
func (k keyKind) key() (record.Key, error) {
	key, err := record.ParseKey(k.Key)
	if err != nil {
		return key, err
	}
	o := record.Options{IgnoreCase: k.IgnoreCase, Trim: k.Trim, Skip: k.Skip}
	for _, r := range k.Delimiter {
		o.Delimiter = byte(r)
	}
	return key.With(o)
}

// readKind returns the kind of a directory's keys; ok is false when it has noted
// none: it is new, or a program of its own made it.
func readKind(dir string) (kind keyKind, ok bool, err error) {
	path := filepath.Join(dir, kindName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return kind, false, nil
	}
	if err == nil {
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields()
		if err = dec.Decode(&kind); err == nil {
			_, err = kind.key()
		}
	}
	if err != nil {
		return kind, false, fmt.Errorf("what keys directory %q holds can't be read: %s: %w; remove that file if you know what they are", dir, path, err)
	}
	return kind, true, nil
}

// checkKind refuses a directory whose keys are of another kind than those of this
// run: what happens to be equal would be taken for a duplicate.
func checkKind(dir string, key record.Key) error {
	held, ok, err := readKind(dir)
	if err != nil || !ok || held == kindOf(key) {
		return err
	}
	return fmt.Errorf("directory %q remembers keys of another kind: %s, not %s; give this run a directory of its own, or --force when the keys are the same all the same",
		dir, held, kindOf(key))
}

// noteKind writes the kind of key into a directory, before the first key is marked.
func noteKind(dir string, key record.Key) error {
	kind := kindOf(key)
	if held, ok, err := readKind(dir); err == nil && ok && held == kind {
		return nil
	}
	data, err := json.Marshal(kind)
	if err == nil {
		err = replaceFile(filepath.Join(dir, kindName), append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("what keys directory %q holds can't be noted: %w", dir, err)
	}
	return nil
}

// replaceFile writes a file that is there whole or as it was, whatever happens.
func replaceFile(path string, data []byte) error {
	temp := path + ".tmp" // one a run that was killed left is written over
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
