package pgstore

import (
	"database/sql/driver"
	"encoding/hex"
	"strconv"
)

// The arrays are sent as text, which all drivers for PostgreSQL can.

type byteaArray [][]byte

// Value implements driver.Valuer.
func (a byteaArray) Value() (driver.Value, error) {
	size := 2
	for _, b := range a {
		size += 2*len(b) + 6
	}
	out := append(make([]byte, 0, size), '{')
	for i, b := range a {
		if i > 0 {
			out = append(out, ',')
		}
		if b == nil {
			out = append(out, "NULL"...)
			continue
		}
		out = append(out, `"\\x`...)
		out = hex.AppendEncode(out, b)
		out = append(out, '"')
	}
	return string(append(out, '}')), nil
}

type intArray []int

// Value implements driver.Valuer.
func (a intArray) Value() (driver.Value, error) {
	out := append(make([]byte, 0, 6*len(a)+2), '{')
	for i, n := range a {
		if i > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendInt(out, int64(n), 10)
	}
	return string(append(out, '}')), nil
}
