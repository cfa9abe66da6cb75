package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/internal/record"
)

// recordKeyFlag says where the key of a Kafka record is. The zero value is its own
// key.
type recordKeyFlag struct {
	text   string
	header string
	json   record.Key
}

func (k *recordKeyFlag) Type() string { return "KEY" }
func (k *recordKeyFlag) String() string {
	if k.text == "" {
		return "key"
	}
	return k.text
}

func (k *recordKeyFlag) Set(s string) (err error) {
	kind, rest, _ := strings.Cut(s, ":")
	switch {
	case s == "key":
		*k = recordKeyFlag{}
	case kind == "header" && rest != "":
		*k = recordKeyFlag{text: s, header: rest}
	case kind == "json":
		*k = recordKeyFlag{text: s}
		k.json, err = record.ParseKey(s)
	default:
		err = fmt.Errorf("it must be key, header:NAME or json:PATH")
	}
	return err
}

// extract returns what partitioned.Options.Key wants.
func (k *recordKeyFlag) extract() func(*kgo.Record) ([]byte, error) {
	switch {
	case k.header != "":
		return func(r *kgo.Record) ([]byte, error) {
			for i := len(r.Headers) - 1; i >= 0; i-- {
				if r.Headers[i].Key == k.header {
					return r.Headers[i].Value, nil
				}
			}
			return nil, errors.New("there is no such header")
		}
	case k.text != "":
		return func(r *kgo.Record) ([]byte, error) { return k.json.Append(nil, r.Value) }
	}
	return nil
}
