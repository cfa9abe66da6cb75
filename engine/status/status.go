package status

import (
	"bytes"
	"encoding/json"
	"expvar"
	"html/template"
	"net/http"
	"strconv"
	"time"

	_ "embed"

	"github.com/firstseen/firstseen/engine"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"count": count, "bytes": size, "percent": percent, "share": share, "time": clock, "age": age, "moment": moment,
}).Parse(pageText))

// Var returns the numbers as an expvar.Var: stats is the method Stats of an engine.
func Var(stats func() engine.Stats) expvar.Var {
	return expvar.Func(func() any { return stats() })
}

// Handler returns the page: stats is the method Stats of an engine. With
// ?format=json it is JSON. Methods other than GET and HEAD get 405, a closed engine
// 503, and another format 400.
func Handler(stats func() engine.Stats) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
			return
		}
		s := stats()
		if s.Window.Asked == 0 { // no open engine has a window of 0
			http.Error(w, "the engine is closed", http.StatusServiceUnavailable)
			return
		}
		var out bytes.Buffer
		var err error
		kind := "text/html; charset=utf-8"
		switch r.URL.Query().Get("format") {
		case "", "html":
			err = page.Execute(&out, view{s, answered(s.Verdicts)})
		case "json":
			kind = "application/json"
			enc := json.NewEncoder(&out)
			enc.SetIndent("", "  ")
			err = enc.Encode(s)
		default:
			http.Error(w, "format is html or json", http.StatusBadRequest)
			return
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		h := w.Header()
		h.Set("Content-Type", kind)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		_, _ = w.Write(out.Bytes()) // a reader that has gone needs no answer
	})
}

// A view is what the page shows.
type view struct {
	engine.Stats
	Answered uint64
}

func answered(v engine.VerdictStats) uint64 { return v.Fresh + v.Duplicate + v.InFlight + v.Unknown }

// count writes a number with a space between thousands.
func count(n any) string {
	var digits string
	switch n := n.(type) {
	case uint64:
		digits = strconv.FormatUint(n, 10)
	case int:
		digits = strconv.Itoa(n)
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:]
	}
	return digits
}

// size writes a number of bytes in binary units.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 {
		return strconv.FormatInt(n, 10) + " B"
	}
	return strconv.FormatFloat(v, 'f', 1, 64) + " " + units[i]
}

func percent(f float64) string { return strconv.FormatFloat(f*100, 'f', 2, 64) + " %" }

// share is how much of the whole a part is; nothing of nothing is 0.
func share(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

func age(d time.Duration) string { return d.Round(time.Second).String() }

func moment(d time.Duration) string { return d.Round(time.Microsecond).String() }

func clock(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}
