package main

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"

	"github.com/firstseen/firstseen/internal/record"
)

// keyFlag is a record.Key as a flag.
type keyFlag struct{ record.Key }

func (k *keyFlag) Type() string { return "KEY" }
func (k *keyFlag) Set(s string) (err error) {
	k.Key, err = record.ParseKey(s)
	return err
}

// choice is a flag that takes one of a few words.
type choice struct {
	value string
	words []string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return strings.Join(c.words, "|") }
func (c *choice) Set(s string) error {
	for _, w := range c.words {
		if s == w {
			c.value = s
			return nil
		}
	}
	return fmt.Errorf("it must be one of %s", strings.Join(c.words, ", "))
}

// delimiterFlag is a byte that ends fields.
type delimiterFlag byte

func (d *delimiterFlag) Type() string { return "CHAR" }
func (d *delimiterFlag) String() string {
	if *d == 0 {
		return ""
	}
	return string(rune(*d))
}

func (d *delimiterFlag) Set(s string) error {
	if s == `\t` {
		s = "\t"
	}
	if len(s) != 1 || s[0] >= utf8.RuneSelf {
		return fmt.Errorf(`it must be one ASCII character, or \t for a tab`)
	}
	*d = delimiterFlag(s[0])
	return nil
}

// sizeFlag is a number of bytes.
type sizeFlag int64

func (n *sizeFlag) Type() string { return "SIZE" }
func (n *sizeFlag) String() string {
	if *n == 0 {
		return ""
	}
	return humanize.IBytes(uint64(*n))
}

func (n *sizeFlag) Set(s string) error {
	bytes, err := humanize.ParseBytes(s)
	if err != nil || bytes > math.MaxInt64 {
		return fmt.Errorf("it must be a size such as 512M, 1.5GiB or 100000000")
	}
	*n = sizeFlag(bytes)
	return nil
}

// windowFlag is a duration that knows days and weeks, of 24 hours and 7 days:
// windows are rarely shorter.
type windowFlag time.Duration

var daysAndWeeks = regexp.MustCompile(`([0-9.]+)([dw])`)

func (w *windowFlag) String() string { return duration(time.Duration(*w)) }
func (w *windowFlag) Type() string   { return "TIME" }
func (w *windowFlag) Set(s string) error {
	hours := daysAndWeeks.ReplaceAllStringFunc(s, func(part string) string {
		n, err := strconv.ParseFloat(part[:len(part)-1], 64)
		if err != nil {
			return part
		}
		n *= 24
		if part[len(part)-1] == 'w' {
			n *= 7
		}
		return strconv.FormatFloat(n, 'f', -1, 64) + "h"
	})
	d, err := time.ParseDuration(hours)
	if err != nil || d <= 0 {
		return fmt.Errorf("it must be a time above zero, such as 90m, 24h, 7d or 1w2d12h")
	}
	*w = windowFlag(d)
	return nil
}

// duration writes whole days and the rest without zero parts: 7d, 24h, 1h30m.
func duration(d time.Duration) string {
	const day = 24 * time.Hour
	var days string
	if d > day {
		days = strconv.Itoa(int(d/day)) + "d"
		if d %= day; d == 0 {
			return days
		}
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return days + s
}
