package keys

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// ErrID: a text is not a UUID or ULID, or an id has no time.
var ErrID = errors.New("keys: not a valid id")

const (
	uuidLen = 36 // xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx
	ulidLen = 26
)

// UUID returns the 16 bytes of a UUID's text of 36 characters, in upper or lower
// case (RFC 9562, section 4). Braces, "urn:uuid:" and texts without hyphens
// are refused with ErrID, as is everything else.
func UUID[T ~string | ~[]byte](text T) ([16]byte, error) {
	var id [16]byte
	if len(text) != uuidLen {
		return id, fmt.Errorf("%w: a UUID has %d characters, not %d", ErrID, uuidLen, len(text))
	}
	at := 0
	for i := range id {
		if at == 8 || at == 13 || at == 18 || at == 23 {
			if text[at] != '-' {
				return [16]byte{}, fmt.Errorf("%w: character %d of a UUID is a hyphen", ErrID, at)
			}
			at++
		}
		hi, lo := hexValue(text[at]), hexValue(text[at+1])
		if hi|lo > 0xf {
			return [16]byte{}, fmt.Errorf("%w: a UUID has hexadecimal digits at %d and %d", ErrID, at, at+1)
		}
		id[i] = hi<<4 | lo
		at += 2
	}
	return id, nil
}

func hexValue(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

// UUIDTime returns when a UUID of version 7 was made, in whole milliseconds.
// Other versions give ErrID.
func UUIDTime(id [16]byte) (time.Time, error) {
	if id[6]>>4 != 7 || id[8]>>6 != 0b10 {
		return time.Time{}, fmt.Errorf("%w: not a UUID of version 7", ErrID)
	}
	return millis(id), nil
}

// ULIDTime returns when a ULID was made, in whole milliseconds. Every 16 bytes
// are a ULID; of other ids the time means nothing.
func ULIDTime(id [16]byte) time.Time { return millis(id) }

func millis(id [16]byte) time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(id[:]) >> 16))
}

// crockford gives the value of each character of base 32, 0xff for others. I, L,
// O and U are no digits.
var crockford = func() (values [256]byte) {
	for i := range values {
		values[i] = 0xff
	}
	for i, c := range []byte("0123456789ABCDEFGHJKMNPQRSTVWXYZ") {
		values[c] = byte(i)
		if c >= 'A' {
			values[c-'A'+'a'] = byte(i)
		}
	}
	return values
}()

// ULID returns the 16 bytes of a ULID's text of 26 characters, in upper or lower
// case. Other texts give ErrID, also one that stands for more than 128 bits.
func ULID[T ~string | ~[]byte](text T) ([16]byte, error) {
	var id [16]byte
	if len(text) != ulidLen {
		return id, fmt.Errorf("%w: a ULID has %d characters, not %d", ErrID, ulidLen, len(text))
	}
	if text[0] > '7' {
		return id, fmt.Errorf("%w: a ULID begins with 0 to 7", ErrID)
	}
	// 26 characters of 5 bits are 130 bits, of which the first two are zero.
	var hi, lo uint64
	for i := range ulidLen {
		v := crockford[text[i]]
		if v == 0xff {
			return id, fmt.Errorf("%w: character %d is no digit of a ULID", ErrID, i)
		}
		hi, lo = hi<<5|lo>>59, lo<<5|uint64(v)
	}
	binary.BigEndian.PutUint64(id[:8], hi)
	binary.BigEndian.PutUint64(id[8:], lo)
	return id, nil
}
