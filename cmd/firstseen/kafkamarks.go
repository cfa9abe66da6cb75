package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/firstseen/firstseen/adapters/kafka/partitioned"
)

const kafkaMarksLong = `Reads a log of marks, as far as it is committed, and prints for each partition how
many keys it holds and of what time. With --keys it prints every key behind its time,
partition and offset, with tabs between them; keys that are not plain text are quoted.

With a KEY it prints those marks only, and the exit code is 1 when there are none:
then no firstseen kafka has copied a record with this key since the log begins. The
times are those of the marks, not of the records.`

type kafkaMarksFlags struct {
	cluster clusterFlags
	topic   string
	since   windowFlag
	keys    bool
	isHex   bool
	json    bool
}

func newKafkaMarks(a *app) *cobra.Command {
	o := &kafkaMarksFlags{}
	cmd := &cobra.Command{
		Use:   "marks [KEY]",
		Short: "Read a log of marks",
		Long:  kafkaMarksLong,
		Example: `  firstseen kafka marks --brokers k1:9092 --topic orders-marks
  firstseen kafka marks --brokers k1:9092 --topic orders-marks order-1234
  firstseen kafka marks --brokers k1:9092 --topic orders-marks --since 1h --keys`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.requireOutput(); err != nil {
				return err
			}
			return o.run(cmd.Context(), a, args)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.topic, "topic", "", "`TOPIC` of the log of marks")
	f.Var(&o.since, "since", "read only what is not older, such as 1h or 7d (default all)")
	f.BoolVar(&o.keys, "keys", false, "print every key")
	f.BoolVar(&o.isHex, "hex", false, "KEY is hexadecimal, and keys are printed so")
	f.BoolVar(&o.json, "json", false, "print JSON; of keys an object for each line")
	o.cluster.bind(cmd)
	return cmd
}

// logTotal is what one partition of a log holds.
type logTotal struct {
	Partition int32     `json:"partition"`
	First     int64     `json:"first_offset"`
	Last      int64     `json:"last_offset"`
	Records   uint64    `json:"records"`
	Keys      uint64    `json:"keys"`
	Bytes     uint64    `json:"bytes"`
	From      time.Time `json:"from"`
	To        time.Time `json:"to"`
}

// logMark is one key of it.
type logMark struct {
	At        time.Time `json:"at"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Key       string    `json:"key"`
}

func (o *kafkaMarksFlags) run(ctx context.Context, a *app, args []string) error {
	if o.topic == "" {
		return usagef("--topic is missing")
	}
	client, err := o.cluster.options()
	if err != nil {
		return err
	}
	var wanted []byte
	if len(args) == 1 {
		if wanted = []byte(args[0]); o.isHex {
			if wanted, err = hex.DecodeString(args[0]); err != nil {
				return usagef("KEY %q is no hexadecimal number with an even number of digits", args[0])
			}
		}
		if len(wanted) == 0 {
			return usagef("KEY is empty, and a marked key never is")
		}
	}
	var since time.Time
	if o.since > 0 {
		since = time.Now().Add(-time.Duration(o.since))
	}
	r := &logReader{o: o, out: bufio.NewWriter(a.out), wanted: wanted, totals: []logTotal{}}
	err = errors.Join(partitioned.ReadLog(ctx, client, o.topic, since, r.visit), r.out.Flush())
	switch {
	case errors.Is(err, syscall.EPIPE): // the reader has what it wanted (head)
		return nil
	case err != nil:
		return err
	case wanted != nil && !r.found:
		return &exitError{code: exitFailed, err: errSilent}
	case o.keys || wanted != nil:
		return nil
	case o.json:
		return printJSON(a.out, r.totals)
	}
	return printTotals(a.out, r.totals)
}

// A logReader takes the records of a log.
type logReader struct {
	o      *kafkaMarksFlags
	out    *bufio.Writer
	wanted []byte // nil: all keys
	found  bool
	totals []logTotal // one for each partition that holds marks
}

func (r *logReader) visit(rec partitioned.LogRecord) error {
	if !r.o.keys && r.wanted == nil {
		r.add(rec)
		return nil
	}
	for _, key := range rec.Keys {
		if r.wanted != nil && !bytes.Equal(key, r.wanted) {
			continue
		}
		r.found = true
		if err := r.print(logMark{rec.At, rec.Partition, rec.Offset, r.show(key)}); err != nil {
			return err
		}
	}
	return nil
}

func (r *logReader) add(rec partitioned.LogRecord) {
	if n := len(r.totals); n == 0 || r.totals[n-1].Partition != rec.Partition {
		r.totals = append(r.totals, logTotal{Partition: rec.Partition, First: rec.Offset, From: rec.At, To: rec.At})
	}
	t := &r.totals[len(r.totals)-1]
	t.Last = rec.Offset
	t.Records++
	t.Keys += uint64(len(rec.Keys))
	t.Bytes += uint64(rec.Bytes)
	if rec.At.Before(t.From) {
		t.From = rec.At
	}
	if rec.At.After(t.To) {
		t.To = rec.At
	}
}

func (r *logReader) print(m logMark) error {
	if r.o.json {
		return json.NewEncoder(r.out).Encode(m)
	}
	_, err := fmt.Fprintf(r.out, "%s\t%d\t%d\t%s\n", m.At.UTC().Format(time.RFC3339Nano), m.Partition, m.Offset, m.Key)
	return err
}

// show returns a key as it is printed. What is not plain text is quoted as in Go,
// and so is what begins with a quote, so that no two keys look the same.
func (r *logReader) show(key []byte) string {
	if r.o.isHex {
		return hex.EncodeToString(key)
	}
	text := string(key)
	if quoted := strconv.Quote(text); len(quoted) != len(text)+2 || text[0] == '"' {
		return quoted
	}
	return text
}

// printTotals writes the table for people.
func printTotals(out io.Writer, totals []logTotal) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PARTITION\tOFFSETS\tRECORDS\tKEYS\tBYTES\tFROM\tTO")
	var all logTotal
	for _, t := range totals {
		fmt.Fprintf(w, "%d\t%d-%d\t%s\t%s\t%s\t%s\t%s\n", t.Partition, t.First, t.Last, humanize.Comma(int64(t.Records)),
			humanize.Comma(int64(t.Keys)), size(int64(t.Bytes)), moment(t.From), moment(t.To))
		all.Records += t.Records
		all.Keys += t.Keys
		all.Bytes += t.Bytes
	}
	fmt.Fprintf(w, "all\t\t%s\t%s\t%s\t\t\n", humanize.Comma(int64(all.Records)), humanize.Comma(int64(all.Keys)), size(int64(all.Bytes)))
	return w.Flush()
}
