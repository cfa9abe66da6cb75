package record

import (
	"encoding/binary"
	"strings"
)

// Show returns an encoded key as people read it: its fields with tabs between them.
func (k Key) Show(encoded []byte) string {
	text := encoded
	if len(text) > 0 && text[0] == escape {
		switch {
		case len(text) > 1 && text[1] == digestMark:
			return "(a key of more than 65,535 bytes)"
		default:
			text = text[1:]
		}
	}
	if !k.except && len(k.fields) < 2 {
		return string(text)
	}
	var fields []string
	for len(text) > 0 {
		n, size := binary.Uvarint(text)
		if size <= 0 || n > uint64(len(text)-size) {
			return string(encoded)
		}
		fields = append(fields, string(text[size:size+int(n)]))
		text = text[size+int(n):]
	}
	return strings.Join(fields, "\t")
}
