package bench

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// count writes n with a thousands separator.
func count(n float64) string {
	text := fmt.Sprintf("%.0f", math.Abs(n))
	var out strings.Builder
	if n < 0 {
		out.WriteByte('-')
	}
	for i, digit := range text {
		if i > 0 && (len(text)-i)%3 == 0 {
			out.WriteByte(',')
		}
		out.WriteRune(digit)
	}
	return out.String()
}

// short writes n in three digits with k, M or G.
func short(n float64) string {
	units := []struct {
		at   float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}}
	for _, u := range units {
		if math.Abs(n) >= u.at*0.9995 {
			return three(n/u.at) + " " + u.name
		}
	}
	return three(n)
}

// three writes a number below 1,000 in about three digits.
func three(n float64) string {
	switch a := math.Abs(n); {
	case a == 0:
		return "0"
	case a >= 99.95:
		return fmt.Sprintf("%.0f", n)
	case a >= 9.995:
		return fmt.Sprintf("%.1f", n)
	case a >= 0.01:
		return fmt.Sprintf("%.2f", n)
	}
	return fmt.Sprintf("%.2g", n)
}

// duration writes d in three digits.
func duration(d time.Duration) string {
	switch s := d.Seconds(); {
	case d == 0:
		return "0"
	case s >= 0.9995:
		return three(s) + " s"
	case s >= 0.9995e-3:
		return three(s*1e3) + " ms"
	case s >= 0.9995e-6:
		return three(s*1e6) + " µs"
	}
	return fmt.Sprintf("%d ns", d.Nanoseconds())
}

// size writes bytes in decimal units.
func size(n int64) string { return short(float64(n)) + "B" }

// share writes a share as percent.
func share(p float64) string { return three(p*100) + " %" }
