package journal

import (
	"encoding/hex"
	"os"
	"strings"
)

// readBootID identifies the run of the kernel: while it stays the same, what was
// handed to the operating system is still there. A container has that of its host, which is
// right, as the page cache is the host's too. All zero: not known.
func readBootID() (id [16]byte) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return id
	}
	b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(text)), "-", ""))
	if err != nil || len(b) != len(id) {
		return id
	}
	return [16]byte(b)
}
