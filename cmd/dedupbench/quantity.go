package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A quantity is a flag for a number with an optional k, M or G.
type quantity uint64

func (q *quantity) Set(s string) error {
	text, factor := s, 1.0
	for suffix, f := range map[string]float64{"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9} {
		if cut, ok := strings.CutSuffix(text, suffix); ok {
			text, factor = cut, f
			break
		}
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n >= 1/factor) || n*factor > 1e15 || n*factor != math.Trunc(n*factor) {
		return fmt.Errorf("%q is no positive whole number, with or without k, M or G", s)
	}
	*q = quantity(n * factor)
	return nil
}

func (q *quantity) String() string {
	n := uint64(*q)
	for _, u := range []struct {
		f uint64
		s string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if n >= u.f && n%u.f == 0 {
			return strconv.FormatUint(n/u.f, 10) + u.s
		}
	}
	return strconv.FormatUint(n, 10)
}

func (q *quantity) Type() string { return "number" }
