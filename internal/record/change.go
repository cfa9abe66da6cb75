package record

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// change makes of the field dst[from:] what counts of it. It never gets longer.
func (o Options) change(dst []byte, from int) []byte {
	if !o.changes() {
		return dst
	}
	f := dst[from:]
	for n := o.Skip; n > 0 && len(f) > 0; n-- {
		_, size := utf8.DecodeRune(f)
		f = f[size:]
	}
	if o.Trim {
		f = bytes.TrimSpace(f)
	}
	if o.IgnoreCase {
		f = fold(f)
	}
	return append(dst[:from], f...)
}

// fold writes over f what all texts have in common that differ in case only: of
// each character the smallest that folds to it, which is no longer in UTF-8.
func fold(f []byte) []byte {
	w := 0
	for i := 0; i < len(f); {
		c := f[i]
		if c < utf8.RuneSelf {
			if 'a' <= c && c <= 'z' {
				c -= 'a' - 'A'
			}
			f[w] = c
			w, i = w+1, i+1
			continue
		}
		r, size := utf8.DecodeRune(f[i:])
		if r == utf8.RuneError && size == 1 { // no UTF-8: as it is
			f[w] = c
			w, i = w+1, i+1
			continue
		}
		w += utf8.EncodeRune(f[w:], smallest(r))
		i += size
	}
	return f[:w]
}

// smallest returns the smallest of the characters that differ from r in case only.
func smallest(r rune) rune {
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	return least
}
