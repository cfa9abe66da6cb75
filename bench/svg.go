package bench

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
	"time"
)

// A drawing is an SVG picture under construction. Colours and fonts come from
// the page's style sheet, by class.
type drawing struct {
	out           strings.Builder
	width, height float64
}

func newDrawing(width, height float64) *drawing { return &drawing{width: width, height: height} }

func (d *drawing) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(&d.out, `<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, class, x1, y1, x2, y2)
}

func (d *drawing) rect(class string, x, y, w, h float64, title string) {
	fmt.Fprintf(&d.out, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="2">%s</rect>`, class, x, y, max(w, 0), h, tip(title))
}

func (d *drawing) dot(class string, x, y, r float64, title string) {
	fmt.Fprintf(&d.out, `<circle class="%s" cx="%.1f" cy="%.1f" r="%.1f">%s</circle>`, class, x, y, r, tip(title))
}

func (d *drawing) path(class, path string) {
	fmt.Fprintf(&d.out, `<path class="%s" d="%s"/>`, class, path)
}

// text is anchored at start, middle or end.
func (d *drawing) text(class, anchor string, x, y float64, s string) {
	fmt.Fprintf(&d.out, `<text class="%s" text-anchor="%s" x="%.1f" y="%.1f">%s</text>`, class, anchor, x, y, html.EscapeString(s))
}

func tip(s string) string {
	if s == "" {
		return ""
	}
	return "<title>" + html.EscapeString(s) + "</title>"
}

// html closes the picture; label is what a screen reader says.
func (d *drawing) html(label string) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg viewBox="0 0 %.0f %.0f" role="img" aria-label="%s">%s</svg>`,
		d.width, d.height, html.EscapeString(label), d.out.String()))
}

// Sizes in units of the view box, which are close to pixels.
const (
	chartWidth = 560.0
	rowHeight  = 24.0
	barHeight  = 14.0
	axisHeight = 22.0
	charWidth  = 6.7 // of the labels' font, on average
)

// A bar is one row of a bar chart.
type bar struct {
	name  string
	class string // look
	value float64
	label string
	title string
}

// barChart draws horizontal bars from a common zero.
func barChart(label string, bars []bar) template.HTML {
	left, right := 0.0, 0.0
	most := 0.0
	for _, b := range bars {
		left = max(left, float64(len([]rune(b.name)))*charWidth)
		right = max(right, float64(len([]rune(b.label)))*charWidth)
		most = max(most, b.value)
	}
	left, right = left+10, right+8
	d := newDrawing(chartWidth, rowHeight*float64(len(bars))+6)
	d.line("axis", left, 2, left, d.height-2)
	for i, b := range bars {
		y := 4 + rowHeight*float64(i)
		width := 0.0
		if most > 0 {
			width = b.value / most * (chartWidth - left - right)
		}
		d.text("name", "end", left-8, y+barHeight-1, b.name)
		d.rect(b.class, left, y+2, width, barHeight, b.title)
		d.text("value", "start", left+width+6, y+barHeight-1, b.label)
	}
	return d.html(label)
}

// A span is one row of a latency chart.
type span struct {
	name   string
	class  string
	points []time.Duration // p50 … max, rising
}

var quantileNames = []string{"p50", "p90", "p99", "p99.9", "max"}

// latencyChart draws one row of dots a target on a logarithmic axis.
func latencyChart(label string, spans []span) template.HTML {
	left := 0.0
	low, high := math.Inf(1), math.Inf(-1)
	for _, s := range spans {
		left = max(left, float64(len([]rune(s.name)))*charWidth)
		for _, p := range s.points {
			v := math.Log10(float64(max(p, 1)))
			low, high = min(low, v), max(high, v)
		}
	}
	if math.IsInf(low, 0) {
		return ""
	}
	low, high, left = math.Floor(low), math.Ceil(high+1e-9), left+10
	d := newDrawing(chartWidth, rowHeight*float64(len(spans))+6+axisHeight)
	x := func(v time.Duration) float64 {
		return left + 8 + (math.Log10(float64(max(v, 1)))-low)/(high-low)*(chartWidth-left-40)
	}
	bottom := d.height - axisHeight
	for e := low; e <= high; e++ {
		at := time.Duration(math.Pow(10, e))
		d.line("grid", x(at), 2, x(at), bottom)
		d.text("tick", "middle", x(at), bottom+15, duration(at))
	}
	for i, s := range spans {
		y := 4 + rowHeight*float64(i) + 2 + barHeight/2
		d.text("name", "end", left-8, y+4, s.name)
		d.line("stem "+s.class, x(s.points[0]), y, x(s.points[len(s.points)-1]), y)
		for q, p := range s.points {
			d.dot(fmt.Sprintf("q%d %s", q, s.class), x(p), y, 4.2, fmt.Sprintf("%s %s %s", s.name, quantileNames[q], duration(p)))
		}
	}
	return d.html(label)
}
