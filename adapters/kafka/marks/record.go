package marks

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

const (
	version   = 1
	anyLength = 0
	oneLength = 1
	headBytes = 10
	sumBytes  = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// PartitionsHeader is the name of the header that says how many partitions the input had.
const PartitionsHeader = "partitions"

// ErrRecord: a record is damaged, or is none of this package's.
var ErrRecord = errors.New("marks: not a record of marks, or damaged")

// Append appends a record of keys that were marked at a time to dst, and returns
// the number of keys that it holds: as many as fit maxBytes, at least one. Call it
// again for the rest. It panics when a key has no valid length, since none such can
// have been marked.
func Append(dst []byte, at time.Time, keys [][]byte, maxBytes int) (record []byte, n int) {
	same := true
	bytes := headBytes + 2*binary.MaxVarintLen32 + sumBytes
	for n = range keys {
		k := len(keys[n])
		if k == 0 || k > dedup.MaxKeyLen {
			panic(fmt.Sprintf("marks: a key of %d bytes", k))
		}
		if bytes += 3 + k; bytes > maxBytes && n > 0 {
			break
		}
		same = same && k == len(keys[0])
		if n == len(keys)-1 {
			n++
			break
		}
	}
	base := len(dst)
	dst = append(dst, version, anyLength)
	dst = binary.BigEndian.AppendUint64(dst, uint64(at.UnixMilli()))
	dst = binary.AppendUvarint(dst, uint64(n))
	if same && n > 0 {
		dst[base+1] = oneLength
		dst = binary.AppendUvarint(dst, uint64(len(keys[0])))
	}
	for _, key := range keys[:n] {
		if !same {
			dst = binary.AppendUvarint(dst, uint64(len(key)))
		}
		dst = append(dst, key...)
	}
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[base:], castagnoli)), n
}

// Decode appends the keys of a record to keys, as pieces of record, and returns
// the time at which they were marked. An error wraps ErrRecord; then keys is
// returned as it was.
func Decode(keys [][]byte, record []byte) (time.Time, [][]byte, error) {
	if len(record) < headBytes+sumBytes+1 {
		return time.Time{}, keys, fmt.Errorf("%w: %d bytes", ErrRecord, len(record))
	}
	body := record[:len(record)-sumBytes]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(record[len(body):]) {
		return time.Time{}, keys, fmt.Errorf("%w: wrong checksum", ErrRecord)
	}
	if body[0] != version || body[1] > oneLength {
		return time.Time{}, keys, fmt.Errorf("%w: version %d, form %d", ErrRecord, body[0], body[1])
	}
	at := time.UnixMilli(int64(binary.BigEndian.Uint64(body[2:])))
	rest := body[headBytes:]
	count, rest, ok := uvarint(rest)
	one := uint64(0)
	if ok && body[1] == oneLength {
		one, rest, ok = uvarint(rest)
		ok = ok && one > 0
	}
	all := keys
	for ; ok && count > 0; count-- {
		n := one
		if one == 0 {
			n, rest, ok = uvarint(rest)
		}
		if ok = ok && n > 0 && n <= dedup.MaxKeyLen && n <= uint64(len(rest)); ok {
			all = append(all, rest[:n:n])
			rest = rest[n:]
		}
	}
	if !ok || len(rest) > 0 {
		return time.Time{}, keys, fmt.Errorf("%w: lengths don't fit", ErrRecord)
	}
	return at, all, nil
}

func uvarint(b []byte) (v uint64, rest []byte, ok bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, b, false
	}
	return v, b[n:], true
}
