package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFilterKeys: what is the same record by several fields, names, delimiters and
// what does not count, with empty fields, quotes, CRLF and byte order marks.
func TestFilterKeys(t *testing.T) {
	f := func(in, out, dups string, args ...string) {
		t.Helper()
		same(t, strings.Join(args, " "), must(t, strings.NewReader(in), append([]string{"filter"}, args...)...), out)
		same(t, strings.Join(args, " ")+" --duplicates -", must(t, strings.NewReader(in), append([]string{"filter", "--duplicates", "-"}, args...)...), dups)
	}
	f("u,1,d\nu,2,d\nu,3,e\n,4,\nx\n,5,\n", "u,1,d\nu,3,e\n,4,\nx\n,5,\n", "u,2,d\n", "--key", "csv:1,3")
	f("user,n,day\r\nu,1,\"d\"\r\nu,2,d\nu,3,\n\"u\",4\r\n", "user,n,day\r\nu,1,\"d\"\r\nu,3,\n", "user,n,day\r\nu,2,d\n\"u\",4\r\n", "--key", "csv:day,user")
	f("a\tb\n1\tx\n2\tx\n", "a\tb\n1\tx\n", "a\tb\n2\tx\n", "--key", "tsv:b")
	f("1;a;x\n2;a;x\n3;\"a;\";x\n4;a,;x\n", "1;a;x\n3;\"a;\";x\n4;a,;x\n", "2;a;x\n", "--key", "csv:^1", "--delimiter", ";")
	f("1|a\n2|a\n", "1|a\n", "2|a\n", "--key", "tsv:2", "--delimiter", "|")
	f(`{"u":1,"e":2,"t":3}`+"\n"+`{"e":"2","t":4,"u":1}`+"\n"+`{"u":1}`+"\n"+`{"t":1}`+"\n", `{"u":1,"e":2,"t":3}`+"\n"+`{"u":1}`+"\n", `{"e":"2","t":4,"u":1}`+"\n",
		"--key", "json:u,e", "--missing", "drop")
	f(`{"u":1,"t":3}`+"\n"+`{"t":4,"u":1}`+"\n", `{"u":1,"t":3}`+"\n", `{"t":4,"u":1}`+"\n", "--key", "json:^t")
	f("a\nb\x00a\nb\x00c", "a\nb\x00c", "a\nb\x00", "-z")
	f("1,\"a\x00b\"\x002,\"a\x00b\"\x00", "1,\"a\x00b\"\x00", "2,\"a\x00b\"\x00", "-z", "--key", "csv:2")
	f("Straße\nSTRASSE\nstraße\nSTRAßE\n", "Straße\nSTRASSE\n", "straße\nSTRAßE\n", "-i")
	f(" a\r\na\nA\n", " a\r\nA\n", "a\n", "--trim")
	f("12:00 x\n12:01 x\n12:02 X \n", "12:00 x\n12:02 X \n", "12:01 x\n", "--skip", "5")
	f("12:00 x\n12:01 x\n12:02 X \n", "12:00 x\n", "12:01 x\n12:02 X \n", "--skip", "5", "--trim", "--ignore-case")
	f("\ufeffa\nb\na\n", "\ufeffa\nb\n", "\ufeffa\n")
	f("\ufeff\"a\",1\na,2\n", "\ufeff\"a\",1\n", "\ufeffa,2\n", "--key", "csv:1")
	f("\ufeff{\"id\":1}\n{\"id\":1}\n", "\ufeff{\"id\":1}\n", "\ufeff{\"id\":1}\n", "--key", "json:id")
	f("\ufeffid,n\n1,a\n1,b\n", "\ufeffid,n\n1,a\n", "\ufeffid,n\n1,b\n", "--key", "csv:id")
}

// TestFilterBOM: each input's mark is in none of its records, and the first one's is
// written once.
func TestFilterBOM(t *testing.T) {
	f := func(out string, inputs ...string) {
		t.Helper()
		args := []string{"filter", "--key", "csv:1"}
		for _, in := range inputs {
			args = append(args, write(t, []byte(in)))
		}
		same(t, strings.Join(inputs, " + "), must(t, nil, args...), out)
	}
	f("\ufeffa,1\nb,1\n", "\ufeffa,1\n", "\ufeffa,2\nb,1\n", "\ufeffb,2\n")
	f("a,1\nb,2\n", "a,1\n", "\ufeffa,2\nb,2\n")
	f("", "\ufeff")
	f("\ufeffa\n", "\ufeff", "\ufeffa\n")
	f("a\n", "", "\ufeffa\n")
}

// TestFilterHeaderNames: names that a header lacks stop the run before it begins.
func TestFilterHeaderNames(t *testing.T) {
	good, bad := write(t, []byte("id,n\n1,a\n")), write(t, []byte("ID,n\n2,b\n"))
	r := firstseen(t, nil, "filter", "--key", "csv:id", bad)
	if r.code != 1 || r.out != "" || !strings.Contains(r.err, `no column "id"`) || !strings.Contains(r.err, `"ID"`) {
		t.Fatalf("%+v", r)
	}
	dir := filepath.Join(t.TempDir(), "seen")
	r = firstseen(t, nil, "filter", "--key", "csv:id", "--dir", dir, good, bad)
	if r.code != 1 || r.out != "" || !strings.Contains(r.err, "not that of") {
		t.Fatalf("%+v", r)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Fatal("the directory was made")
	}
}

// TestFilterNoKeyAtAll: a path that matches nothing is not silent, and one that does
// not always match is.
func TestFilterNoKeyAtAll(t *testing.T) {
	in := "{\"id\":1}\n{\"id\":1}\n"
	r := firstseen(t, strings.NewReader(in), "filter", "--key", "json:di")
	if r.code != 0 || r.out != in || !strings.Contains(r.err, "no record had the key json:di") || strings.Count(r.err, "\n") != 1 {
		t.Fatalf("%+v", r)
	}
	for _, in := range []string{"", "{\"di\":1}\n{}\n"} {
		if r := firstseen(t, strings.NewReader(in), "filter", "--key", "json:di"); r.code != 0 || r.err != "" || r.out != in {
			t.Fatalf("%q: %+v", in, r)
		}
	}
}

// TestFilterBuiltKeys: records without the fields of which a path builds a value are
// records without a key.
func TestFilterBuiltKeys(t *testing.T) {
	in := "{\"x\":1}\n{\"x\":2}\n{\"u\":null,\"items\":[{}]}\n"
	for _, key := range []string{"json:[u,e]", "json:{u,e}", "json:items.#.id", "json:items.#(a=1)#", "json:u,e", "json:^x,items"} {
		same(t, key, must(t, strings.NewReader(in), "filter", "--key", key), in)
		same(t, key, must(t, strings.NewReader(in), "filter", "--key", key, "--missing", "drop"), "")
		if r := firstseen(t, strings.NewReader(in), "filter", "--key", key, "--missing", "fail"); r.code != 1 || !strings.Contains(r.err, "record 1 has no key") {
			t.Fatalf("%s: %+v", key, r)
		}
	}
}

// TestFilterNested: a document that is nested too deep costs no stack, is named, and
// goes the way of --missing.
func TestFilterNested(t *testing.T) {
	deep := strings.Repeat("[", 10_000_000) + "\n"
	in := "{\"id\":1}\n" + deep + "{\"id\":2}\n" + deep + "{\"id\":1}\n"
	f := func(missing, out, inStderr string, code int) {
		t.Helper()
		r := firstseen(t, strings.NewReader(in), "filter", "--key", "json:id", "--missing", missing)
		same(t, missing, r.out, out)
		if r.code != code || strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, inStderr) {
			t.Fatalf("--missing %s: exit code %d, %s", missing, r.code, r.err)
		}
	}
	f("pass", "{\"id\":1}\n"+deep+"{\"id\":2}\n"+deep, "standard input: record 2 counts as one without a key: it is nested more than 10000 levels deep", 0)
	f("drop", "{\"id\":1}\n{\"id\":2}\n", "record 2", 0)
	f("fail", "{\"id\":1}\n", "record 2 has no key: it is nested", 1)
}

// TestFilterDuplicatesAppended: a file of duplicates grows from run to run, with one
// header and one mark, and ends of records where they lack.
func TestFilterDuplicatesAppended(t *testing.T) {
	dups := filepath.Join(t.TempDir(), "dups")
	f := func(in, want string, args ...string) {
		t.Helper()
		must(t, strings.NewReader(in), append([]string{"filter", "--key", "csv:id", "--duplicates", dups}, args...)...)
		got, err := os.ReadFile(dups)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "duplicates", string(got), want)
	}
	f("\ufeffid\n1\n1\n2\n2", "\ufeffid\n1\n2", "--append")
	f("\ufeffid\n3\n3\n", "\ufeffid\n1\n2\n3\n", "--append")
	f("id\n4\n", "\ufeffid\n1\n2\n3\n", "--append")
	f("id\n4\n4\n", "id\n4\n")
}

func TestFilterFlagsThatDontFit(t *testing.T) {
	f := func(inStderr string, args ...string) {
		t.Helper()
		r := firstseen(t, strings.NewReader("a\n"), append([]string{"filter"}, args...)...)
		if r.code != 2 || r.out != "" || !strings.Contains(r.err, inStderr) {
			t.Fatalf("%q: %+v, want %q", args, r, inStderr)
		}
	}
	f("for csv and tsv keys", "--delimiter", ";")
	f("one ASCII character", "--key", "csv:1", "--delimiter", ";;")
	f("can't be a delimiter", "--key", "csv:1", "--delimiter", "\"")
	f("can't be skipped", "--skip", "-1")
	f("both want standard output", "--duplicates", "-", "--observe")
	f("--append is for", "--append")
	f("--force is for", "--force")
	f("a size such as", "--memory", "much")
	f("the least is 40 MiB", "--memory", "1M")
	f("a size such as", "--min-free", "-1")
	f("twice", "--key", "csv:1,1")
}
