package jsonkey_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/firstseen/firstseen/dedup/keys/jsonkey"
)

func TestPath(t *testing.T) {
	f := func(doc, path, want string, wantErr error) {
		t.Helper()
		got, err := jsonkey.Path([]byte(doc), path)
		if string(got) != want || !errors.Is(err, wantErr) || wantErr == nil && err != nil {
			t.Errorf("%s at %s: %q, %v", doc, path, got, err)
		}
	}
	const doc = `{"id":"a\u00e9\n","n":9007199254740993,"f":17.0,"t":true,"o":{"x":[{"y":"z"}],"null":null,"empty":""},"a.b":"dot"}`
	f(doc, "id", "aé\n", nil)
	f(doc, "n", "9007199254740993", nil)
	f(doc, "f", "17.0", nil)
	f(doc, "t", "true", nil)
	f(doc, "o.x.0.y", "z", nil)
	f(doc, `a\.b`, "dot", nil)
	f(doc, "absent", "", jsonkey.ErrNoKey)
	f(doc, "o.null", "", jsonkey.ErrNoKey)
	f(doc, "o.empty", "", jsonkey.ErrNoKey)
	f(doc, "o", "", jsonkey.ErrInvalid)
	f(doc, "o.x", "", jsonkey.ErrInvalid)
	f(`{"id":"a"`, "id", "", jsonkey.ErrInvalid)
	f(`{"id":"a"} x`, "id", "", jsonkey.ErrInvalid)
	f(``, "id", "", jsonkey.ErrInvalid)
}

func TestCanonical(t *testing.T) {
	f := func(doc, want string, omit ...string) {
		t.Helper()
		got, err := jsonkey.Canonical([]byte(doc), omit...)
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v, want %s", doc, got, err, want)
		}
	}
	// RFC 8785, section 3.2.2 and 3.2.3, without the number that would be rounded.
	f(`{"numbers": [1E30, 4.50, 2e-3, 0.000000000000000000000000001],
	    "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
	    "literals": [null, true, false]}`,
		`{"literals":[null,true,false],"numbers":[1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`)
	f(`{"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
	    "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"}`,
		"{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\","+
			"\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}")
	// Appendix B.
	f(`[-0, 5e-324, 1.7976931348623157e308, 9007199254740992, 295147905179352830000, 9.999999999999997e22, 1e23, 333333333.3333332, 1e21, 100]`,
		`[0,5e-324,1.7976931348623157e+308,9007199254740992,295147905179352830000,9.999999999999997e+22,1e+23,333333333.3333332,1e+21,100]`)
	f(`17`, `17`)
	f(`"x"`, `"x"`)

	f(`{"b":1,"a":{"t":2,"u":[{"t":3}],"t/x":4},"t":5}`, `{"a":{"t/x":4,"u":[{"t":3}]},"b":1,"t":5}`, "/a/t")
	f(`{"b":1,"a":{"t":2,"u":[{"t":3,"k":6}],"t/x":4},"t":[5,{}]}`, `{"a":{"t":2,"u":[{"k":6}]},"b":1}`, "/t", "/a/t~1x", "/a/u/0/t", "/nothing")
	f(`[1,2]`, `[1,2]`, "/0", "")
	f(`{"t":9007199254740993}`, `{}`, "/t") // what is left out may be any JSON
}

func TestCanonicalRefused(t *testing.T) {
	f := func(doc string, omit ...string) {
		t.Helper()
		if got, err := jsonkey.Hash([]byte(doc), omit...); !errors.Is(err, jsonkey.ErrInvalid) || got != [32]byte{} {
			t.Errorf("%s: %x, %v", doc, got, err)
		}
	}
	f(``)
	f(` `)
	f(`{"a":1`)
	f(`{"a":1,}`)
	f(`{"a":1}{}`)
	f(`1 2`)
	f(`{"a":1,"a":1}`)
	f(`{"a":1,"\u0061":2}`)
	f(`{"a":1,"a":2}`, "/a")
	f("\"\xff\"")
	f(`"\ud800"`)
	f(`[01]`)
	f(`[NaN]`)
	f(`[9007199254740993]`)
	f(`[333333333.33333329]`)
	f(`[1e400]`)
	f(`[1e-400]`)
	f(`[1e99999999999999999999]`)
	f(`{"t":{"x":1,}}`, "/t")
}

func TestHash(t *testing.T) {
	a, err := jsonkey.Hash([]byte(`{"amount": 10.0, "order": "17", "sent_at": 1}`), "/sent_at")
	b, err2 := jsonkey.Hash([]byte(`{"order":"\u00317","sent_at":2,"amount":1e1}`), "/sent_at")
	c, err3 := jsonkey.Hash([]byte(`{"order":"18","amount":10}`), "/sent_at")
	if err != nil || err2 != nil || err3 != nil || a != b || a == c {
		t.Errorf("%x, %x, %x, %v, %v, %v", a, b, c, err, err2, err3)
	}
	if got := fmt.Sprintf("%x", a); got != "ff8add95d4d05d5ea0db12c37438e3e88bd8dc50b3aabeecc51baba3011fa69b" {
		t.Errorf("the hash has changed to %s", got)
	}
}

// FuzzCanonical: the canonical form means the same to encoding/json, and is its
// own canonical form.
func FuzzCanonical(f *testing.F) {
	for _, doc := range []string{`{"b":[1,2.50,"x"],"a":null}`, `"\ud83d\ude00"`, `1e21`, `{"a":{"a":0.1}}`, `[-0.0,100e-2]`} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		got, err := jsonkey.Canonical(doc, "/a/a")
		if err != nil {
			return
		}
		again, err := jsonkey.Canonical(got)
		if err != nil || !bytes.Equal(again, got) {
			t.Errorf("%s becomes %s, then %s, %v", doc, got, again, err)
		}
		if bytes.Contains(doc, []byte("a")) || strings.Contains(string(doc), `\u0061`) {
			return // something may have been left out
		}
		var want, have any
		if err := errors.Join(json.Unmarshal(doc, &want), json.Unmarshal(got, &have)); err != nil {
			t.Fatal(err)
		}
		w, err := json.Marshal(want)
		h, err2 := json.Marshal(have)
		if err != nil || err2 != nil || !bytes.Equal(bytes.ReplaceAll(w, []byte("-0"), []byte("0")), bytes.ReplaceAll(h, []byte("-0"), []byte("0"))) {
			t.Errorf("%s means %s, %s means %s", doc, w, got, h)
		}
	})
}

func ExamplePath() {
	doc := []byte(`{"order":{"id":"A-17","lines":[{"sku":4711}]},"note":null}`)
	for _, path := range []string{"order.id", "order.lines.0.sku", "note"} {
		key, err := jsonkey.Path(doc, path)
		fmt.Printf("%q %v\n", key, err)
	}
	// Output:
	// "A-17" <nil>
	// "4711" <nil>
	// "" jsonkey: no key at note
}

// Two tries to send one message differ only in what is left out.
func ExampleHash() {
	first, err := jsonkey.Hash([]byte(`{"order": 17, "amount": 10.0, "sent_at": "10:01"}`), "/sent_at")
	if err != nil {
		fmt.Println(err)
	}
	again, err := jsonkey.Hash([]byte(`{"amount":10,"order":17,"sent_at":"10:02"}`), "/sent_at")
	fmt.Println(first == again, err)
	// Output: true <nil>
}

func ExampleCanonical() {
	doc, err := jsonkey.Canonical([]byte(`{"order": 17, "amount": 10.0}`))
	fmt.Println(string(doc), err)
	// Output: {"amount":10,"order":17} <nil>
}
