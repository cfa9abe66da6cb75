package record

import (
	"bytes"
	"encoding/csv"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// sameKey checks whether records are told apart by a key.
func sameKey(t *testing.T, k Key, want bool, a, b string) {
	t.Helper()
	ka, errA := k.Append(nil, []byte(a))
	kb, errB := k.Append(nil, []byte(b))
	if errA != nil || errB != nil || bytes.Equal(ka, kb) != want {
		t.Fatalf("%s %+v: %q of %q (%v) and %q of %q (%v): same is %v, want %v", k, k.opts, ka, a, errA, kb, b, errB, !want, want)
	}
}

func TestKeySeveral(t *testing.T) {
	f := func(key string, want bool, a, b string) {
		t.Helper()
		sameKey(t, parse(t, key, Options{}), want, a, b)
	}
	f("csv:1,3", true, "u,x,d\n", "u,y,d\r\n")
	f("csv:1,3", true, "u,x,\"d\"\n", "u,\"y,\n\",d")
	f("csv:3,1", false, "u,x,d\n", "d,x,u\n")
	f("csv:1,2", false, "ab,c\n", "a,bc\n")
	f("csv:1,2", false, ",a\n", "a,\n")
	f("csv:1,2", true, "a,\n", "a\n") // absent is like empty
	f("csv:1,2", false, "\"a,b\",c\n", "a,\"b,c\"\n")
	f("tsv:2,1", true, "a\tb\tx\n", "a\tb\ty\r\n")
	f("json:u,e", true, `{"u":1,"e":"x"}`, `{"e":"x","a":0,"u":1}`)
	f("json:u,e", false, `{"u":1}`, `{"e":1}`)
	f("json:u,e", true, `{"u":1}`, `{"u":"1","e":null}`)
	f(`json:[u,e],k`, true, `{"u":1,"e":2,"k":3}`, `{"k":3,"u":1,"e":2,"x":4}`)
	f(`json:a\,b`, true, `{"a,b":1}`, `{"a,b":1,"a":2}`)

	f("csv:^2", true, "u,x,d\n", "u,y,d\n")
	f("csv:^2", false, "u,x,d\n", "u,x,e\n")
	f("csv:^1,3", true, "1,x,2\n", "3,\"x\",4\n")
	f("csv:^9", false, "a,b\n", "a,c\n")
	f("tsv:^1", false, "a\tb\tc\n", "a\tb\n")
	f("json:^ts", true, `{"ts":1,"a":[1,2],"b":"x"}`, `{"b":"\u0078", "a":[1,2], "ts":{"x":2}}`)
	f("json:^ts", false, `{"ts":1,"a":"b"}`, `{"ts":1,"b":"a"}`)
	f("json:^ts", false, `{"ts":1,"ab":"c"}`, `{"ts":1,"a":"bc"}`)
	f("json:^ts", true, `{"a":1,"b":null}`, `{"a":1,"b":[]}`)
	f("json:^ts", true, `{"a":1,"a":2}`, `{"a":1}`)
	f(`json:^a\.b`, true, `{"a.b":1,"c":1}`, `{"a.b":2,"c":1}`)

	missing := func(key, rec string, want error) {
		t.Helper()
		if got, err := parse(t, key, Options{}).Append(nil, []byte(rec)); !errors.Is(err, want) || len(got) > 0 {
			t.Fatalf("%s of %q: got %q, %v, want %v", key, rec, got, err, want)
		}
	}
	missing("csv:2,3", "a\n", ErrAbsent)
	missing("csv:2,3", "a,,\"\"\n", ErrAbsent)
	missing("csv:^1", "a\n", ErrAbsent)
	missing("csv:^1", "a,,\n", ErrAbsent)
	missing("json:u,e", `{"u":null,"e":[]}`, ErrAbsent)
	missing("json:u,e", `{"u":1`, ErrNoJSON)
	missing("json:^ts", `{"ts":1,"x":""}`, ErrAbsent)
	missing("json:^ts", `[1]`, ErrNoObject)
	missing("json:id", strings.Repeat("[", 10_000_000), ErrNested)
	missing("json:id", `{"id":"x","a":`+strings.Repeat(`{"a":`, MaxNesting)+"1"+strings.Repeat("}", MaxNesting)+"}", ErrNested)

	deep := `{"id":"x","a":` + strings.Repeat("[", MaxNesting-1) + `"[[[[{\""` + strings.Repeat("]", MaxNesting-1) + "}"
	f("json:id", true, deep, `{"id":"x"}`)
	f("json:id", true, `{"id":"x","a":"`+strings.Repeat("[", 3*MaxNesting)+`"}`, `{"id":"x"}`)
}

func TestKeyOptions(t *testing.T) {
	f := func(key string, o Options, want bool, a, b string) {
		t.Helper()
		sameKey(t, parse(t, key, o), want, a, b)
	}
	f("csv:2", Options{Delimiter: ';'}, true, "a,b;c\n", "x;\"c\"\n")
	f("csv:2", Options{Delimiter: '\t'}, true, "\"a\tb\"\tc\n", "x\tc\r\n")
	f("tsv:2", Options{Delimiter: '|'}, true, "a|b|c\n", "x|b\n")
	f("line", Options{NUL: true}, false, "a\x00", "a\n\x00")
	f("csv:2", Options{NUL: true}, false, "a,b\x00", "a,b\r\x00")
	f("json:id", Options{NUL: true}, true, "{\"id\":\n1}\x00", `{"id":1}`)

	f("line", Options{IgnoreCase: true}, true, "Straße É\n", "STRAßE é\n")
	f("line", Options{IgnoreCase: true}, true, "\u212aelvin ſ ς\n", "kELVIN s Σ\n")
	f("line", Options{IgnoreCase: true}, false, "a\xff\n", "A\xfe\n")
	f("line", Options{}, false, "a\n", "A\n")
	f("line", Options{Trim: true}, true, " \ta b\r\n", "a b\n")
	f("line", Options{Trim: true}, true, "   \n", "\n")
	f("line", Options{Skip: 3}, true, "äöüx\n", "abcx\n")
	f("line", Options{Skip: 9}, true, "short\n", "\n")
	f("line", Options{Skip: 8, Trim: true}, true, "12:00:00 went wrong\n", "12:01:30  went wrong\r\n")
	f("csv:1,2", Options{IgnoreCase: true, Trim: true}, true, "A , b\n", "a,B\n")
	f("csv:1,2", Options{Skip: 1}, true, "xa,yb\n", "ya,xb\n")
	f("json:^t", Options{IgnoreCase: true}, true, `{"a":"X"}`, `{"a":"x"}`)
	f("json:^t", Options{IgnoreCase: true}, false, `{"A":"X"}`, `{"a":"x"}`)

	if _, err := parse(t, "csv:1", Options{Trim: true}).Append(nil, []byte("  ,b\n")); !errors.Is(err, ErrAbsent) {
		t.Fatalf("a field of spaces that are trimmed: got %v", err)
	}
	for _, bad := range []struct {
		key string
		o   Options
	}{{"line", Options{Delimiter: ';'}}, {"json:id", Options{Delimiter: ','}}, {"csv:1", Options{Delimiter: '"'}}, {"tsv:1", Options{Delimiter: '\n'}}, {"line", Options{Skip: -1}}} {
		k, err := ParseKey(bad.key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.With(bad.o); err == nil {
			t.Fatalf("%s takes %+v", bad.key, bad.o)
		}
	}
}

func TestKeyResolve(t *testing.T) {
	f := func(key, header, rec string, texts ...string) {
		t.Helper()
		k := parse(t, key, Options{})
		if !k.NeedsHeader() {
			t.Fatalf("%s needs no header", key)
		}
		k, err := k.Resolve([]byte(header))
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.Append(nil, []byte(rec))
		want, err2 := k.AppendTexts(nil, slices.Collect(func(yield func([]byte) bool) {
			for _, text := range texts {
				if !yield([]byte(text)) {
					return
				}
			}
		})...)
		if err != nil || err2 != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s with %q of %q: got %q, %v, want %q, %v", key, header, rec, got, err, want, err2)
		}
	}
	f("csv:day,user", "user,x,\"day\"\r\n", "u,1,d\n", "d", "u")
	f(`csv:"last, first",1`, "a,\"last, first\"\n", "1,x\n", "x", "1")
	f(`csv:"2"`, "1,b,2\n", "x,y,z\n", "z")
	f("tsv:b", "a\tb", "x\ty\n", "y")
	f("csv:^b", "a,b,c\n", "x,y,z\n", "x", "z")
	bad := func(key, header, want string) {
		t.Helper()
		if _, err := parse(t, key, Options{}).Resolve([]byte(header)); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%s with %q: got %v, want an error with %q", key, header, err, want)
		}
	}
	bad("csv:c", "a,b\n", `no column "c", only ["a" "b"]`)
	bad("csv:A", "a,b\n", "no column")
	bad("csv:a", "a,b,a\n", "two columns")
	bad("csv:a", "\n", "no column")
	if parse(t, "csv:1,2", Options{}).NeedsHeader() || parse(t, "json:user", Options{}).NeedsHeader() {
		t.Fatal("a header is needed though no column is named")
	}
}

// FuzzKeySeveral: rows of fields have one key exactly when their fields are the same,
// and the texts of the fields give it too.
func FuzzKeySeveral(f *testing.F) {
	f.Add("a", "b\n", "\"c\"", "a", "b", "\nc", false)
	f.Add("", ",", "", ",", "", "", true)
	f.Fuzz(func(t *testing.T, a1, a2, a3, b1, b2, b3 string, except bool) {
		key := "csv:1,2,3"
		if except {
			key = "csv:^4"
		}
		k := parse(t, key, Options{})
		row := func(texts ...string) ([]byte, bool) {
			var out bytes.Buffer
			w := csv.NewWriter(&out)
			var bs [][]byte
			for _, text := range texts {
				if strings.Contains(text, "\r") { // the writer changes it
					return nil, false
				}
				bs = append(bs, []byte(text))
			}
			if err := w.Write(append(slices.Clone(texts), "rest")); err != nil {
				t.Fatal(err)
			}
			w.Flush()
			got, err := k.Append(nil, out.Bytes())
			if empty := texts[0]+texts[1]+texts[2] == ""; empty != (err != nil) {
				t.Fatalf("%q: %v", texts, err)
			} else if empty {
				return nil, false
			}
			if want, err := k.AppendTexts(nil, bs...); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%q: got %q, by texts %q, %v", texts, got, want, err)
			}
			return got, true
		}
		ka, okA := row(a1, a2, a3)
		kb, okB := row(b1, b2, b3)
		if okA && okB && bytes.Equal(ka, kb) != (a1 == b1 && a2 == b2 && a3 == b3) {
			t.Fatalf("%q and %q", ka, kb)
		}
	})
}

// FuzzFold: folded texts are the same exactly when strings.EqualFold says so.
func FuzzFold(f *testing.F) {
	f.Add("aK", "A\u212a")
	f.Add("ſς", "SΣ")
	f.Fuzz(func(t *testing.T, a, b string) {
		fa, fb := fold([]byte(a)), fold([]byte(b))
		if len(fa) > len(a) {
			t.Fatalf("%q became longer: %q", a, fa)
		}
		if utf8.ValidString(a) && utf8.ValidString(b) && bytes.Equal(fa, fb) != strings.EqualFold(a, b) {
			t.Fatalf("%q and %q: %q and %q", a, b, fa, fb)
		}
	})
}
