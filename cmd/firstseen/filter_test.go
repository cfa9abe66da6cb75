package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// awk returns what awk '!seen[$0]++' makes of data. It ends every line, so the
// line feed that it adds to a last line without one is taken off.
func awk(t *testing.T, data []byte) string {
	t.Helper()
	cmd := exec.Command("awk", "!seen[$0]++")
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("awk: %v", err)
	}
	last := data[bytes.LastIndexByte(data, '\n')+1:]
	if len(last) > 0 && bytes.HasSuffix(append([]byte("\n"), out...), fmt.Appendf(nil, "\n%s\n", last)) {
		// The last line of the output can be that last line only when it was
		// new, since awk prints each once.
		out = out[:len(out)-1]
	}
	return string(out)
}

// lines returns n lines made by line, a share of them repeated.
func lines(seed uint64, n int, share float64, line func(rng *rand.Rand, i int) string) []byte {
	rng := rand.New(rand.NewPCG(seed, 0))
	var all []string
	var b bytes.Buffer
	for i := range n {
		s := ""
		if len(all) > 0 && rng.Float64() < share {
			s = all[rng.IntN(len(all))]
		} else {
			s = line(rng, i)
			all = append(all, s)
		}
		b.WriteString(s)
	}
	return b.Bytes()
}

// sized is n, or a tenth of it in short runs: under the race detector these
// tests spend their time in the inputs.
func sized(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

// words is a line as in a log.
func words(rng *rand.Rand, i int) string {
	vocabulary := strings.Fields("order paid user login failed from the to 17 0 00 1e3 -1 timeout é 日本 retry = : , \"")
	var s []string
	for range 1 + rng.IntN(12) {
		s = append(s, vocabulary[rng.IntN(len(vocabulary))])
	}
	return strings.Join(s, " ") + "\n"
}

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// awkFiles are inputs of the kinds that people have.
func awkFiles() map[string][]byte {
	text := lines(1, sized(60_000), 0.3, words)
	rng := rand.New(rand.NewPCG(2, 0))
	// Few different bytes, so that lines repeat.
	junk := randomBytes(rng, sized(300_000))
	for i := range junk {
		junk[i] = "\x00\xff\n\r a"[junk[i]%6]
	}
	long := func(rng *rand.Rand, i int) string {
		sizes := []int{3, 65534, 65535, 65536, 70_000, 300_000, 2 << 20}
		return strings.Repeat(string(rune('a'+i%20)), sizes[rng.IntN(len(sizes))]) + words(rng, i)
	}
	return map[string][]byte{
		"text":            text,
		"crlf":            bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")),
		"mixed-line-ends": append(bytes.ReplaceAll(text[:1000], []byte("\n"), []byte("\r\n")), text[:5000]...),
		"no-final-end":    append(text[:len(text):len(text)], "the end"...),
		"no-final-end-2":  append(text[:len(text):len(text)], text[:bytes.IndexByte(text, '\n')]...),
		"junk":            junk,
		"noise":           append(randomBytes(rng, sized(1<<20)), randomBytes(rng, 7)...),
		"nothing":         nil,
		"empty-lines":     []byte("\n\na\n\nb\n\n\na"),
		"one-byte":        []byte("x"),
		"line-end":        []byte("\n"),
		"nul":             {0},
		"long-lines":      lines(3, sized(100), 0.4, long),
		"uuids": lines(4, sized(30_000), 0.5, func(rng *rand.Rand, i int) string {
			s := fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", rng.Uint32(), rng.IntN(1<<16), rng.IntN(1<<12), rng.IntN(1<<12), rng.Uint64()>>16)
			if i%3 == 0 {
				s = strings.ToUpper(s) // another line than the same in lower case
			}
			return s + "\n"
		}),
		"sixteen-bytes": lines(5, sized(30_000), 0.5, func(rng *rand.Rand, i int) string { return fmt.Sprintf("%016x\n", rng.Uint64()) }),
	}
}

func TestFilterEqualsAwk(t *testing.T) {
	for name, data := range awkFiles() {
		t.Run(name, func(t *testing.T) {
			want := awk(t, data)
			same(t, "from a file", must(t, nil, "filter", write(t, data)), want)
			same(t, "from a pipe", must(t, bytes.NewReader(data), "filter"), want)
		})
	}
}

// TestFilterTwoRuns: a stream cut anywhere between two lines, in two runs.
func TestFilterTwoRuns(t *testing.T) {
	for name, data := range awkFiles() {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(6, uint64(len(data))))
			cut := 0
			if len(data) > 0 {
				cut = bytes.LastIndexByte(data[:rng.IntN(len(data))], '\n') + 1
			}
			dir := filepath.Join(t.TempDir(), "seen")
			first := must(t, nil, "filter", "--dir", dir, write(t, data[:cut]))
			second := must(t, nil, "filter", "--dir", dir, write(t, data[cut:]))
			same(t, "both outputs", first+second, awk(t, data))
			if again := must(t, bytes.NewReader(data), "filter", "--dir", dir); again != "" {
				t.Fatalf("a third run gave %.80q", again)
			}
		})
	}
}

// TestFilterLongest: a line of exactly 64 MiB goes through, one byte more is
// refused, and what came before is done.
func TestFilterLongest(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 200 MB")
	}
	line := bytes.Repeat([]byte{'x'}, 64<<20)
	in := append(append([]byte("a\n"), line...), '\n')
	in = append(append(in, line...), '\n')
	same(t, "64 MiB", must(t, bytes.NewReader(in), "filter"), string(in[:len(line)+3]))
	in = append(append([]byte("a\n"), line...), "x\nb\n"...)
	r := firstseen(t, bytes.NewReader(in), "filter")
	if r.code != 1 || r.out != "a\n" || !strings.Contains(r.err, "record 2") {
		t.Fatalf("exit code %d, %d bytes, %s", r.code, len(r.out), r.err)
	}
}

func TestFilterJSON(t *testing.T) {
	data := lines(7, sized(20_000), 0.1, func(rng *rand.Rand, i int) string {
		doc := map[string]any{"n": i, "text": words(rng, i)}
		switch rng.IntN(8) {
		case 0: // no user at all
		case 1:
			doc["user"] = map[string]any{"id": nil}
		case 2:
			doc["user"] = map[string]any{"id": rng.IntN(2000)}
		default:
			doc["user"] = map[string]any{"name": "x", "id": fmt.Sprintf("u\"\\\n%d é\x00", rng.IntN(8000))}
		}
		line, _ := json.Marshal(doc)
		return string(line) + "\n"
	})
	var want, dups strings.Builder
	var stats filterStats
	seen := map[string]bool{}
	for line := range bytes.Lines(data) {
		var doc struct{ User struct{ ID any } }
		if err := json.Unmarshal(line, &doc); err != nil {
			t.Fatal(err)
		}
		stats.Records++
		key := fmt.Sprint(doc.User.ID)
		switch {
		case doc.User.ID == nil:
			stats.Missing++
			want.Write(line)
		case seen[key]:
			stats.Duplicates++
			dups.Write(line)
		default:
			stats.Fresh++
			want.Write(line)
		}
		seen[key] = true
	}
	stats.Bytes = uint64(len(data))
	dupFile := filepath.Join(t.TempDir(), "dups")
	r := firstseen(t, nil, "filter", "--key", "json:user.id", "--stats", "--duplicates", dupFile, write(t, data))
	if r.code != 0 {
		t.Fatal(r.err)
	}
	same(t, "output", r.out, want.String())
	got, err := os.ReadFile(dupFile)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "duplicates", string(got), dups.String())
	checkStats(t, r.err, stats)
}

// checkStats expects one line of JSON with stats.
func checkStats(t *testing.T, stderr string, want filterStats) {
	t.Helper()
	var got filterStats
	dec := json.NewDecoder(strings.NewReader(stderr))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&got); err != nil || strings.Count(stderr, "\n") != 1 {
		t.Fatalf("%v: %q", err, stderr)
	}
	if got.Seconds <= 0 {
		t.Fatalf("seconds: %v", got.Seconds)
	}
	got.Seconds = 0
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
}

// TestFilterCSV: fields with commas, quotes and line breaks, against a reading
// with encoding/csv.
func TestFilterCSV(t *testing.T) {
	for _, crlf := range []bool{false, true} {
		var file bytes.Buffer
		var starts []int
		rng := rand.New(rand.NewPCG(8, 0))
		for i := range sized(20_000) {
			starts = append(starts, file.Len())
			w := csv.NewWriter(&file)
			w.UseCRLF = crlf
			key := fmt.Sprintf("key \"%d\",\n%d", rng.IntN(3000), rng.IntN(3))
			if rng.IntN(20) == 0 {
				key = ""
			}
			_ = w.Write([]string{fmt.Sprint(i), "a,\"\n\n" + words(rng, i), key})
			w.Flush()
		}
		data := file.Bytes()
		starts = append(starts, len(data))
		rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		var want strings.Builder
		seen := map[string]bool{}
		for i, row := range rows {
			if row[2] == "" || !seen[row[2]] {
				want.Write(data[starts[i]:starts[i+1]])
			}
			seen[row[2]] = true
		}
		same(t, fmt.Sprintf("CRLF %v", crlf), must(t, bytes.NewReader(data), "filter", "--key", "csv:3"), want.String())
	}
}

// TestFilterHeaderRuns: each run writes the header, and files that don't fit together
// are told before anything is remembered.
func TestFilterHeaderRuns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "seen")
	first, second := write(t, []byte("id,n\n1,a\n2,b\n")), write(t, []byte("\ufeffid,n\r\n2,c\r\n3,d\r\n"))
	other := write(t, []byte("n,id\na,9\n"))
	args := []string{"filter", "--key", "csv:1", "--header", "--dir", dir}
	if r := firstseen(t, nil, append(args, first, other)...); r.code == 0 || r.out != "" ||
		!strings.Contains(r.err, other+": its header is not that of "+first+"; nothing was done") {
		t.Fatalf("%+v", r)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Fatalf("the directory was made: %v", err)
	}
	same(t, "two files", must(t, nil, append(args, first, second)...), "id,n\n1,a\n2,b\n3,d\r\n")
	same(t, "another run", must(t, strings.NewReader("id,n\n3,e\n4,f\n"), args...), "id,n\n4,f\n")
	same(t, "a stream between files", must(t, strings.NewReader("id,n\n5,g"), append(args, first, "-", second)...), "id,n\n5,g")
}

func TestFilterTSV(t *testing.T) {
	data := lines(9, sized(20_000), 0, func(rng *rand.Rand, i int) string {
		return fmt.Sprintf("%d\t\"key\t%d\r\n", i, rng.IntN(5000))
	})
	var want strings.Builder
	seen := map[string]bool{}
	for line := range bytes.Lines(data) {
		key := strings.Split(strings.TrimSpace(string(line)), "\t")[2]
		if !seen[key] {
			want.Write(line)
		}
		seen[key] = true
	}
	same(t, "tsv", must(t, bytes.NewReader(data), "filter", "--key", "tsv:3"), want.String())
}

func TestFilterMissing(t *testing.T) {
	in := "{\"id\":1}\nnonsense\n{\"id\":1}\n{\"id\":2}\n"
	f := func(policy, out string, code int, records uint64) {
		t.Helper()
		r := firstseen(t, strings.NewReader(in), "filter", "--key", "json:id", "--missing", policy, "--stats")
		var stats filterStats
		if err := json.Unmarshal([]byte(strings.SplitAfter(r.err, "\n")[0]), &stats); err != nil {
			t.Fatalf("%s: %v: %s", policy, err, r.err)
		}
		if r.out != out || r.code != code || stats.Records != records {
			t.Fatalf("%s: exit code %d, output %q, %s", policy, r.code, r.out, r.err)
		}
	}
	f("pass", "{\"id\":1}\nnonsense\n{\"id\":2}\n", 0, 4)
	f("drop", "{\"id\":1}\n{\"id\":2}\n", 0, 4)
	f("fail", "{\"id\":1}\n", 1, 1)
}

// TestFilterObserve: all goes through, and the keys are remembered.
func TestFilterObserve(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "seen")
	in := "a\nb\na\n"
	same(t, "observed", must(t, strings.NewReader(in), "filter", "--observe", "--dir", dir), in)
	same(t, "after it", must(t, strings.NewReader(in+"c\n"), "filter", "--dir", dir), "c\n")
}

// TestFilterSync: the levels write the same.
func TestFilterSync(t *testing.T) {
	for _, level := range []string{"always", "interval", "none"} {
		dir, path := filepath.Join(t.TempDir(), "seen"), filepath.Join(t.TempDir(), "out")
		out, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		cmd := command(t, "filter", "--dir", dir, "--sync", level, "--window", "7d", "--capacity", "1000")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("a\nb\na\n"), out, os.Stderr
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		out.Close()
		if data, err := os.ReadFile(path); err != nil || string(data) != "a\nb\n" {
			t.Fatalf("%s: %q, %v", level, data, err)
		}
	}
}
