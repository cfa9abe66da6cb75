package httpidem

import (
	"net/http"
	"reflect"
	"testing"
)

func TestAnswerRoundTrip(t *testing.T) {
	f := func(a answer, names ...string) {
		t.Helper()
		got, err := decodeAnswer(a.append(nil, names))
		if err != nil || got.status != a.status || string(got.body) != string(a.body) {
			t.Fatalf("%+v came back as %+v, %v", a, got, err)
		}
		for _, name := range names {
			if !reflect.DeepEqual(got.header.Values(name), a.header.Values(name)) {
				t.Errorf("%s: %q, want %q", name, got.header.Values(name), a.header.Values(name))
			}
		}
	}
	f(answer{status: 204})
	f(answer{status: 201, body: []byte("body\x00\xff"), header: http.Header{"Link": {"<a>", "<b>"}, "Etag": {""}, "Secret": {"s"}}}, "Link", "Etag")
}

// FuzzDecodeAnswer: whatever lies in a store is refused or read, never a panic.
func FuzzDecodeAnswer(f *testing.F) {
	a := answer{status: 200, header: http.Header{"Etag": {"x"}}, body: []byte("b")}
	f.Add(a.append(nil, []string{"Etag"}))
	f.Add([]byte{1, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := decodeAnswer(data)
		if err == nil && (a.status < 200 || a.status > 999) {
			t.Fatalf("status %d", a.status)
		}
	})
}
