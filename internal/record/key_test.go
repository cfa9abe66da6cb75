package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/firstseen/firstseen/dedup"
)

func TestParseKey(t *testing.T) {
	good := func(s string, isCSV bool) {
		t.Helper()
		k, err := ParseKey(s)
		if err != nil || k.String() != s || k.Format().CSV != isCSV {
			t.Fatalf("%q: got %v with format %+v, %v", s, k, k.Format(), err)
		}
	}
	good("line", false)
	good("json:user.id", false)
	good("json:a:b", false)
	good("csv:1", true)
	good("tsv:12", false)
	good("csv:1,3", true)
	good(`csv:user,"last, first",2,"7"`, true)
	good("csv:^2", true)
	good("tsv:^2,when", false)
	good(`json:u,a.#(b=="x,y").c,[d,e],f\,g`, false)
	good("json:^ts,received", false)
	bad := func(s, wantInError string) {
		t.Helper()
		if k, err := ParseKey(s); err == nil || !strings.Contains(err.Error(), wantInError) {
			t.Fatalf("%q: got %v, %v, want an error with %q", s, k, err, wantInError)
		}
	}
	bad("", "use line")
	bad("lines", "use line")
	bad("line:", "use line")
	bad("json", "no path")
	bad("json:", "no path")
	bad("csv", "no column")
	bad("csv:0", "no column")
	bad("csv:-1", "no column")
	bad("csv:1,", "no column")
	bad("csv:1,,2", "no column")
	bad("csv:^", "no column")
	bad(`csv:"a`, "no column")
	bad(`csv:""`, "no column")
	bad("csv:1,1", "twice")
	bad("csv:a,b,a", "twice")
	bad("json:a,,b", "no path")
	bad("json:a,", "no path")
	bad("json:a,a", "twice")
	bad("tsv:99999999999", "no column")
}

// parse is ParseKey for a key that is right.
func parse(t *testing.T, key string, o Options) Key {
	t.Helper()
	k, err := ParseKey(key)
	if err == nil {
		k, err = k.With(o)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeyAppend(t *testing.T) {
	has := func(key, rec, want string) {
		t.Helper()
		got, err := parse(t, key, Options{}).Append([]byte("before"), []byte(rec))
		if err != nil || string(got) != "before"+want {
			t.Fatalf("%s of %q: got %q, %v, want %q", key, rec, got, err, "before"+want)
		}
	}
	has("line", "a\n", "a")
	has("line", "a", "a")
	has("line", "a\r\n", "a\r")
	has("line", " a \n", " a ")
	has("line", "\n", "\n")
	has("line", "\x00\n", "\x00")

	has("json:id", `{"id":"x"}`+"\n", "x")
	has("json:user.id", `{"id":"no","user":{"id":"yes"}}`+"\r\n", "yes")
	has("json:a.1.b", `{"a":[{"b":1},{"b":2}]}`, "2")
	has("json:id", `{"id":17}`, "17")
	has("json:id", `{"id":1.0}`, "1.0")
	has("json:id", `{"id":false}`, "false")
	has("json:id", `{"id": {"a": 1}}`, `{"a": 1}`)
	has("json:id", `{"id":"tab\tquote\"\u00e9\ud83d\ude00"}`, "tab\tquote\"é😀")
	has("json:id", `{"id":"\ufffd"}`, "\uFFFD")
	has("json:id", `{"id":"\ud83d\ude00\ufffd"}`, "😀\uFFFD")
	has("json:id", `{"id":"\ud800"}`, "\uFFFD")
	has("json:id", `{"id":"\uD800\u0041"}`, "\uFFFDA")
	has("json:id", `{"id":"\udc00\ud83d\uDE00x"}`, "\uFFFD😀x")
	has("json:id", `{"id":"\ud800\ud83d\ude00"}`, "\uFFFD😀")
	has("json:id", `{"id":"\/\\\b\f\r"}`, "/\\\b\f\r")
	has("json:[u,e]", `{"u":1}`, "[1]")
	has("json:items.#.id", `{"items":[{"id":1},{}]}`, "[1]")
	has("json:items.#", `{"items":[{"id":1},{}]}`, "2")
	has("json:id", `{"id":0}`, "0")
	has("json:id", `{"id":"first","id":"second"}`, "first")
	has("json:id", `{"id":"\nx"}`, "\n\nx")
	has("json:id", "{\"id\":\"\xff\"}", "\xff")
	has(`json:a\.b`, `{"a.b":"dot"}`, "dot")

	has("csv:1", "a,b\n", "a")
	has("csv:2", "a,b\r\n", "b")
	has("csv:2", "a,\"b\"\r\n", "b")
	has("csv:2", "a,b", "b")
	has("csv:2", "\"x\ny,z\",\"b\"\"c\"\n", "b\"c")
	has("csv:1", "\"x\r\ny,z\",b\n", "x\r\ny,z")
	has("csv:1", "\"\n\",b\n", "\n\n")
	has("csv:1", "5\" pipe,b\n", "5\" pipe")
	has("csv:2", "\"a\"x,b\n", "b")
	has("csv:1", "\"a\"x\"\"y,b\n", "ax\"\"y")
	has("csv:2", "a, b \n", " b ")

	has("tsv:1", "a\tb\n", "a")
	has("tsv:2", "a\tb\r\n", "b")
	has("tsv:2", "a\t\"b\tc\n", "\"b")
	has("tsv:3", "a\t\tc", "c")

	missing := func(key, rec string) {
		t.Helper()
		if got, err := parse(t, key, Options{}).Append([]byte("before"), []byte(rec)); err == nil || string(got) != "before" {
			t.Fatalf("%s of %q: got %q, %v, want none", key, rec, got, err)
		}
	}
	missing("json:id", "{}")
	missing("json:id", `{"id":null}`)
	missing("json:id", `{"id":""}`)
	missing("json:id", "")
	missing("json:id", "\n")
	missing("json:id", `{"id":"cut","more":`)
	missing("json:id", `not json {"id":"x"}`)
	// What a path builds or finds is empty when it holds nothing.
	missing("json:[u,e]", `{"x":1}`)
	missing("json:{u,e}", `{"x":1}`)
	missing("json:{u,e}", `{"u":null,"e":""}`)
	missing("json:items.#.id", `{"items":[]}`)
	missing("json:items.#.id", `{"items":[{"x":1},{"id":null}]}`)
	missing("json:items.#.tags", `{"items":[{"tags":[]},{"tags":[{},{"x":[null]}]}]}`)
	missing(`json:items.#(k=="a")#.id`, `{"items":[{"k":"b","id":1}]}`)
	missing("json:@values", `{}`)
	missing("json:id", `{"id":[]}`)
	missing("json:id", `{"id": { } }`)
	missing("json:id", `{"id":[null,{"a":""}]}`)
	missing("csv:2", "a\n")
	missing("csv:2", "a,\n")
	missing("csv:2", "a,\"\"\r\n")
	missing("csv:1", "\n")
	missing("csv:1", "\"open\n")
	missing("csv:2", "\"open,b\n")
	missing("csv:2", "a,\"b\"\"")
	missing("tsv:2", "a\n")
	missing("tsv:2", "a\t\tb\n")
	missing("tsv:1", "\r\n")
}

func TestAppendKey(t *testing.T) {
	f := func(key, want string) {
		t.Helper()
		if got := AppendKey(nil, []byte(key)); string(got) != want {
			t.Fatalf("%.40q (%d bytes): got %.40q (%d bytes), want %.40q", key, len(key), got, len(got), want)
		}
	}
	digest := func(key string) string {
		sum := sha256.Sum256([]byte(key))
		return "\n#" + string(sum[:])
	}
	a := strings.Repeat("a", dedup.MaxKeyLen+1)
	n := "\n" + a
	f("", "\n")
	f("\n", "\n\n")
	f("\n\n", "\n\n\n")
	f("a", "a")
	f("#", "#")
	f("\n#x", "\n\n#x")
	f(a[:dedup.MaxKeyLen], a[:dedup.MaxKeyLen])
	f(a, digest(a))
	f(n[:dedup.MaxKeyLen-1], "\n"+n[:dedup.MaxKeyLen-1])
	f(n[:dedup.MaxKeyLen], digest(n[:dedup.MaxKeyLen]))
	f(n, digest(n))
	// The key that looks like another's encoding.
	f(digest(a), "\n"+digest(a))
}

// TestKeyLongFields: extraction and encoding meet for keys that can't stay as
// they are.
func TestKeyLongFields(t *testing.T) {
	long := strings.Repeat("k", dedup.MaxKeyLen+1)
	want := AppendKey(nil, []byte(long))
	for key, rec := range map[string]string{
		"line": long + "\n", "json:id": `{"id":"` + long + `"}`, "csv:2": "x,\"" + long + "\"\n", "tsv:2": "x\t" + long + "\r\n",
	} {
		k, err := ParseKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.Append(nil, []byte(rec)); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s: got %.40q, %v", key, got, err)
		}
	}
}

// FuzzAppendKey: encodings have legal lengths, and two keys have the same one
// only when they are the same.
func FuzzAppendKey(f *testing.F) {
	f.Add([]byte(""), []byte("\n"), uint16(0))
	f.Add([]byte("\n#"), []byte("\n\n#"), uint16(65535))
	f.Fuzz(func(t *testing.T, a, b []byte, pad uint16) {
		b = append(b, bytes.Repeat([]byte{'x'}, int(pad))...)
		ea, eb := AppendKey(nil, a), AppendKey(nil, b)
		if len(ea) == 0 || len(ea) > dedup.MaxKeyLen || len(eb) == 0 || len(eb) > dedup.MaxKeyLen {
			t.Fatalf("lengths %d and %d", len(ea), len(eb))
		}
		if bytes.Equal(a, b) != bytes.Equal(ea, eb) {
			t.Fatalf("%q and %q are encoded as %q and %q", a, b, ea, eb)
		}
		// The other's encoding, taken as a key, must not meet it either.
		if !bytes.Equal(a, eb) && bytes.Equal(ea, AppendKey(nil, eb)) {
			t.Fatalf("%q meets the encoding of %q", a, b)
		}
	})
}

// FuzzKeyAppend: any record with any key is extracted without a panic, dst is
// kept, and a JSON string is the one that encoding/json reads.
func FuzzKeyAppend(f *testing.F) {
	f.Add("json:id", []byte(`{"id":"a\u00e9"}`))
	f.Add("json:a.#.b", []byte(`{"a":[{"b":1}]}`))
	f.Add("csv:2", []byte("a,\"b\n\"\"c\"\r\n"))
	f.Add("tsv:3", []byte("a\tb\tc\n"))
	f.Add("line", []byte("\n"))
	f.Fuzz(func(t *testing.T, key string, rec []byte) {
		k, err := ParseKey(key)
		if err != nil {
			return
		}
		in := bytes.Clone(rec)
		got, why := k.Append([]byte("before"), rec)
		ok := why == nil
		if !bytes.HasPrefix(got, []byte("before")) || !bytes.Equal(in, rec) {
			t.Fatalf("dst or record changed: %q, %q", got, rec)
		}
		if ok != (len(got) > len("before")) {
			t.Fatalf("%v with %q", why, got)
		}
		var doc struct{ ID *string }
		if key == "json:ID" && ok && utf8.Valid(rec) && bytes.Count(bytes.ToLower(rec), []byte("id")) == 1 && json.Unmarshal(rec, &doc) == nil && doc.ID != nil {
			// encoding/json makes U+FFFD of bytes that are no UTF-8; we keep them.
			if want := string(AppendKey([]byte("before"), []byte(*doc.ID))); want != string(got) {
				t.Fatalf("%q: got %q, want %q", rec, got, want)
			}
		}
	})
}

// TestKeyAppendAllocations: lines and columns cost none, a JSON path at most
// the one that gjson makes for the value.
func TestKeyAppendAllocations(t *testing.T) {
	f := func(key, rec string, atMost float64) {
		t.Helper()
		k, err := ParseKey(key)
		if err != nil {
			t.Fatal(err)
		}
		dst, b := make([]byte, 0, 1024), []byte(rec)
		if n := testing.AllocsPerRun(100, func() { _, _ = k.Append(dst, b) }); n > atMost {
			t.Fatalf("%s: %v allocations a record, want at most %v", key, n, atMost)
		}
	}
	f("line", "some line\n", 0)
	f("csv:2", "a,\"b\"\"c\",d\n", 0)
	f("tsv:2", "a\tb\tc\n", 0)
	f("csv:3,1", "a,\"b\"\"c\",d\n", 0)
	f("json:user.id", `{"x":1,"user":{"id":"abc"}}`, 2)
}

func BenchmarkKey(b *testing.B) {
	for _, c := range []struct{ key, rec string }{
		{"line", "2024-05-01T12:00:00Z host app[17]: something happened here and there\n"},
		{"csv:3", "17,name,2024-05-01T12:00:00Z,some text that is not short\n"},
		{"tsv:3", "17\tname\t2024-05-01T12:00:00Z\tsome text that is not short\n"},
		{"json:user.id", `{"time":"2024-05-01T12:00:00Z","kind":"order","user":{"name":"x","id":"0190c7a2-7b1c-7d0e-8a50-2f6a3f6c9d11"},"amount":17.5}` + "\n"},
	} {
		b.Run(fmt.Sprintf("key=%s", c.key), func(b *testing.B) {
			k, err := ParseKey(c.key)
			if err != nil {
				b.Fatal(err)
			}
			rec, dst := []byte(c.rec), []byte(nil)
			b.SetBytes(int64(len(rec)))
			b.ReportAllocs()
			for b.Loop() {
				dst, _ = k.Append(dst[:0], rec)
			}
		})
	}
}
