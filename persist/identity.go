package persist

import (
	"encoding/binary"
	"fmt"
	"path/filepath"

	"github.com/firstseen/firstseen/internal/vfs"
)

// Identity is what a directory is made with and can never change: another seed
// would route every key elsewhere.
//
// Body of the file IDENTITY (see format.go for its frame):
//
//	offset  bytes  what
//	0       32     seed of all hashes, secret
//	32      2      number of shards, a power of two
//	34      1      1: Approximate mode
//	35      1      1: untrusted keys (keyed hash)
//	36      8      when it was made, Unix nanoseconds
type Identity struct {
	Version     uint32 // of the directory's format; set by reading, ignored by writing
	Seed        [32]byte
	Shards      uint16 // power of two, 1 to 256
	Approximate bool
	Untrusted   bool
	Created     int64 // Unix nanoseconds
}

const identityBody = 44

// ReadIdentity reads dir's identity. The error wraps fs.ErrNotExist when there
// is none, dedup.ErrIncompatible when a newer version made it, and is a
// *dedup.CorruptError when it is damaged.
func ReadIdentity(fsys vfs.FS, dir string) (Identity, error) {
	path := filepath.Join(dir, IdentityName)
	data, err := readSealed(fsys, path)
	if err != nil {
		return Identity{}, err
	}
	return decodeIdentity(data, path)
}

func decodeIdentity(data []byte, path string) (Identity, error) {
	b, err := unseal(data, identityMagic, identityVersion, path)
	if err != nil {
		return Identity{}, err
	}
	if len(b) != identityBody {
		return Identity{}, corrupt(path, 12, "body of %d bytes, %d expected", len(b), identityBody)
	}
	if b[34] > 1 || b[35] > 1 {
		return Identity{}, corrupt(path, sealHeader+34, "flags %d, %d", b[34], b[35])
	}
	id := Identity{
		Version:     binary.LittleEndian.Uint32(data[8:]),
		Shards:      binary.LittleEndian.Uint16(b[32:]),
		Approximate: b[34] == 1,
		Untrusted:   b[35] == 1,
		Created:     int64(binary.LittleEndian.Uint64(b[36:])),
	}
	copy(id.Seed[:], b)
	if id.Shards == 0 || id.Shards > 256 || id.Shards&(id.Shards-1) != 0 {
		return Identity{}, corrupt(path, sealHeader+32, "%d shards", id.Shards)
	}
	return id, nil
}

// WriteIdentity writes dir's identity, atomically and durably. It is called
// once, when the directory is made, while CREATING is still there: no key may be hashed under a
// seed that a power loss could take.
func WriteIdentity(fsys vfs.FS, dir string, id Identity) error {
	if id.Shards == 0 || id.Shards > 256 || id.Shards&(id.Shards-1) != 0 {
		return fmt.Errorf("persist: identity: %d shards, a power of two from 1 to 256 expected", id.Shards)
	}
	if err := vfs.WriteFileAtomic(fsys, filepath.Join(dir, IdentityName), id.encode()); err != nil {
		return fmt.Errorf("persist: %w", err)
	}
	return nil
}

func (id Identity) encode() []byte {
	b := append(make([]byte, 0, identityBody), id.Seed[:]...)
	b = binary.LittleEndian.AppendUint16(b, id.Shards)
	b = append(b, flagByte(id.Approximate), flagByte(id.Untrusted))
	b = binary.LittleEndian.AppendUint64(b, uint64(id.Created))
	return seal(identityMagic, identityVersion, b)
}

func flagByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}
