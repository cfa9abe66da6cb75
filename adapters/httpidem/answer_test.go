package httpidem

import (
	"net/http"
	"reflect"
	"testing"
)

func TestAnswerRoundTrip(t *testing.T) {
	f := func(a answer, names ...string) {
		t.Helper()
		got, err := decodeAnswer(a.encode(names))
		if err != nil || got.state != a.state || got.fingerprint != a.fingerprint || got.status != a.status || string(got.body) != string(a.body) {
			t.Fatalf("%+v came back as %+v, %v", a, got, err)
		}
		for _, name := range names {
			if !reflect.DeepEqual(got.header.Values(name), a.header.Values(name)) {
				t.Errorf("%s: %q, want %q", name, got.header.Values(name), a.header.Values(name))
			}
		}
	}
	f(answer{state: stored, status: 204, fingerprint: fingerprint{1, 2}})
	f(answer{state: stored, status: 201, body: []byte("body\x00\xff"), header: http.Header{"Link": {"<a>", "<b>"}, "Etag": {""}, "Secret": {"s"}}}, "Link", "Etag")
	f(answer{state: streamed, fingerprint: fingerprint{9}})
	f(answer{state: settled})
}

// FuzzDecodeAnswer: whatever lies in a store is refused or read, never a panic.
func FuzzDecodeAnswer(f *testing.F) {
	a := answer{state: stored, status: 200, header: http.Header{"Etag": {"x"}}, body: []byte("b")}
	f.Add(a.encode([]string{"Etag"}))
	f.Add([]byte{1, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := decodeAnswer(data)
		if err == nil && a.state == stored && (a.status < 200 || a.status > 999) {
			t.Fatalf("status %d", a.status)
		}
	})
}
