package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/firstseen/firstseen/internal/record"
)

const filterLong = `Reads records from the files, or from standard input, and writes those whose key
is seen for the first time within the window: in order, byte for byte. Inputs
that gzip or zstd packed are unpacked, whatever they are called.

KEY is one of
  line         the whole line (the default), a carriage return included
  json:PATH    lines are JSON documents, PATH leads to the key: user.id, items.0.sku
               (gjson's syntax). Strings count by their text, all else as written:
               1 and "1" are the same key, 1 and 1.0 are not. Of two members with
               one name the first counts
  csv:COLUMN   a column by number, from 1, or by its name in the header; quoted
               fields may hold commas and line breaks
  tsv:COLUMN   the same of tab-separated lines, without quoting

Several paths or columns are one key: csv:1,3  csv:user,day  json:user.id,kind.
Behind a ^ they are what does not count: csv:^4 is the whole record but column 4,
json:^time,host the whole object but these members, in whatever order. A column
whose name is a number or holds a comma goes in quotes: 'csv:"2024"'.

--skip, --trim and --ignore-case take away, in this order and of every field, what
does not count. The records are written as they are.

A record has no key when its line is no valid JSON, when it is nested more than
10,000 levels deep, or when the field is absent, null or empty; of several fields,
when all are. A JSON value is empty when it holds nothing but null, "", [] and {}.
--missing says what becomes of such a record. An empty line is a line like any other.

With --dir the keys are remembered from run to run. Records are written before
their keys are marked, so that a run which is killed and started again loses none
and repeats at most its last batch. DIR remembers what its keys are, too, and
refuses others. Without --dir the keys live in a temporary directory as long as the
command runs.

With --store several runs, on several machines, share one memory and write each record
once between them, with the same promise as --dir. A key that another run has in hand
is waited for; one that was killed holds its last batch for --lease. The store keeps
every key for the window; it does not remember what the keys are, so give each kind a
name of its own:
  redis://USER:PASSWORD@HOST:6379/0?prefix=orders     rediss:// with TLS
  redis-cluster://HOST:6379?addr=HOST2:6379&prefix=orders
  mysql://USER:PASSWORD@HOST:3306/DATABASE?table=orders
  postgres://USER:PASSWORD@HOST:5432/DATABASE?table=orders
An SQL store's table is made by --migrate.

With --header the first record of each input is a header, which has no key. The first
one is written, to --duplicates too, by every run; the others must be the same. Names
of columns imply --header.

A record has at most 64 MiB. A last record without a line end is written without one;
when another input follows it, a line end comes between them. A byte order mark is no
part of a record; the output begins with one when the first input does. When the
reader of a pipe has enough (head), the run ends in order: what it took is remembered,
with at most the rest of the batch that was under way written again by the next run.`

// filterFlags are the command line of filter.
type filterFlags struct {
	key        keyFlag
	delimiter  delimiterFlag
	options    record.Options
	dir        string
	store      string
	migrate    bool
	lease      windowFlag
	force      bool
	refresh    bool
	window     windowFlag
	windowSet  bool // given, not the default
	duplicates string
	append     bool
	header     bool
	observe    bool
	approx     bool
	missing    choice
	stats      bool
	top        int
	capacity   uint64
	keyBytes   int
	memory     sizeFlag
	minFree    sizeFlag
	minFreeSet bool
	sync       choice
}

func newFilter(a *app) *cobra.Command {
	o := &filterFlags{
		window:  windowFlag(24 * time.Hour),
		lease:   windowFlag(10 * time.Second),
		missing: choice{value: "pass", words: []string{"pass", "drop", "fail"}},
		sync:    choice{value: "", words: []string{"always", "interval", "none"}},
	}
	cmd := &cobra.Command{
		Use:   "filter [FILE...]",
		Short: "Write the records whose key is seen for the first time",
		Long:  filterLong,
		Example: `  firstseen filter < words.txt > distinct.txt
  firstseen filter --key json:event.id --dir seen --window 7d events-*.jsonl.gz
  firstseen filter --key csv:user,day --duplicates again.csv --stats orders.csv > once.csv
  firstseen filter --key 'csv:^1' --delimiter ';' --ignore-case --trim list.csv
  find . -name '*.log' -print0 | firstseen filter -z --dir handled | xargs -0 handle`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.windowSet = cmd.Flags().Changed("window")
			o.minFreeSet = cmd.Flags().Changed("min-free")
			if err := o.complete(); err != nil {
				return err
			}
			return runFilter(cmd.Context(), a, *o, args)
		},
	}
	o.bind(cmd)
	return cmd
}

// bind declares the flags.
func (o *filterFlags) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	f.Var(&o.key, "key", "where a record's key is: line, json:PATH, csv:COLUMN or tsv:COLUMN, or several of them")
	f.Var(&o.delimiter, "delimiter", "what is between fields of csv and tsv: one character, or \\t")
	f.BoolVarP(&o.options.NUL, "null", "z", false, "records end with a zero byte instead of a line feed")
	f.BoolVarP(&o.options.IgnoreCase, "ignore-case", "i", false, "upper and lower case are the same key")
	f.BoolVar(&o.options.Trim, "trim", false, "white space around the key doesn't count, a carriage return included")
	f.IntVar(&o.options.Skip, "skip", 0, "the first `N` characters of the key don't count, such as a time's")
	f.BoolVar(&o.header, "header", false, "the first record of each input is a header: write the first one, without a key")
	f.Var(&o.missing, "missing", "what to do with a record that has no key")
	f.StringVar(&o.dir, "dir", "", "`DIR` that remembers the keys from run to run; made when it does not exist")
	f.StringVar(&o.store, "store", "", "`URL` of a store that several runs share: redis://, redis-cluster://, mysql:// or postgres://")
	f.Var(&o.lease, "lease", "how long the keys of a run that was killed are held in the store")
	f.BoolVar(&o.migrate, "migrate", false, "make or update the table of an SQL store first")
	f.Var(&o.window, "window", "how long a key is remembered, such as 90m or 7d; an existing DIR keeps its own when this is not given")
	f.BoolVar(&o.refresh, "refresh", false, "a repeat extends the window: a key is remembered from when it came last, not first")
	f.BoolVar(&o.force, "force", false, "use DIR though its keys are of another kind, and note this one")
	f.StringVar(&o.duplicates, "duplicates", "", "write the duplicates to `FILE`, which is replaced; - is standard output, instead of the first ones")
	f.BoolVar(&o.append, "append", false, "append to the file of --duplicates")
	f.BoolVar(&o.observe, "observe", false, "write every record, and only count")
	f.BoolVar(&o.approx, "approximate", false, "keep filters instead of keys: 3 bytes for each, and about one new record in 1,000 is taken for a duplicate; for a DIR that is made")
	f.BoolVar(&o.stats, "stats", false, "print counts as one line of JSON on standard error at the end")
	f.IntVar(&o.top, "top", 0, "print the `N` most repeated keys on standard error at the end, each with its repeats in this run")
	f.Uint64Var(&o.capacity, "capacity", 0, "keys expected within the window; a hint, more is no harm (default by the files' size)")
	f.IntVar(&o.keyBytes, "key-bytes", 0, "usual length of a key in bytes; a hint, for a DIR that is made (default by the first file's keys)")
	f.Var(&o.memory, "memory", "memory to stay within, such as 512M; with less the disk is used more (default by the machine)")
	f.Var(&o.minFree, "min-free", "disk space to leave free, such as 1G (default 256 MiB, at most a twentieth of the disk)")
	f.Var(&o.sync, "sync", "what a power failure may take: nothing, the last moment, or more (default always with --dir, else none)")
	_ = cmd.MarkFlagDirname("dir")
	_ = cmd.MarkFlagFilename("duplicates")
	for name, words := range map[string][]string{
		"missing": o.missing.words, "sync": o.sync.words, "key": {"line", "json:", "csv:", "tsv:"},
	} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
}

// maxTop bounds the memory for --top.
const maxTop = 10_000

// complete fills in what follows from other flags, and refuses what does not go
// together.
func (o *filterFlags) complete() (err error) {
	o.options.Delimiter = byte(o.delimiter)
	if o.key.Key, err = o.key.With(o.options); err != nil {
		return usagef("%w", err)
	}
	o.header = o.header || o.key.NeedsHeader()
	if o.sync.value == "" {
		o.sync.value = "always"
		if o.dir == "" && o.store == "" {
			o.sync.value = "none" // nothing outlives the run
		}
	}
	switch {
	case o.duplicates == "-" && o.observe:
		return usagef("--duplicates - and --observe both want standard output; give --duplicates a file")
	case o.append && (o.duplicates == "" || o.duplicates == "-"):
		return usagef("--append is for the file of --duplicates, and there is none")
	case o.memory != 0 && o.memory < minMemory:
		return usagef("--memory %s is too little; the least is %s", o.memory.String(), size(minMemory))
	case o.top < 0 || o.top > maxTop:
		return usagef("--top is from 1 to %d, not %d", maxTop, o.top)
	case o.store != "" && o.dir != "":
		return usagef("--store and --dir both want to remember the keys")
	case o.store != "" && o.approx:
		return usagef("--approximate is for a --dir: a store keeps whole keys")
	case o.migrate && o.store == "":
		return usagef("--migrate is for an SQL --store, and there is none")
	case o.force && o.dir == "":
		return usagef("--force is for a --dir that holds other keys, and there is none")
	}
	return nil
}
