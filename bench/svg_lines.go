package bench

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
	"time"
)

// timeChart draws a rate over time with marks at flushes and rotations.
func timeChart(label, class string, samples []Sample, every time.Duration) template.HTML {
	const height, left, right, top = 120.0, 52.0, 8.0, 14.0
	perSecond := func(s Sample) float64 { return float64(s.Messages) / every.Seconds() }
	most := 0.0
	for _, s := range samples {
		most = max(most, perSecond(s))
	}
	if most == 0 {
		return ""
	}
	d := newDrawing(chartWidth, height+axisHeight)
	x := func(i float64) float64 { return left + i/float64(len(samples))*(chartWidth-left-right) }
	y := func(v float64) float64 { return height - v/most*(height-top) }
	for _, f := range []float64{0, 0.5, 1} {
		d.line("grid", left, y(most*f), chartWidth-right, y(most*f))
		d.text("tick", "end", left-6, y(most*f)+4, short(most*f))
	}
	var line strings.Builder
	for i, s := range samples {
		letter := 'L'
		if i == 0 {
			letter = 'M'
		}
		fmt.Fprintf(&line, "%c%.1f %.1f", letter, x(float64(i)+0.5), y(perSecond(s)))
		if s.Rotations > 0 {
			d.line("rotation", x(float64(i)+0.5), top-6, x(float64(i)+0.5), height)
		}
		if s.Flushes > 0 {
			d.line("flush", x(float64(i)+0.5), height, x(float64(i)+0.5), height+5)
		}
	}
	d.path("area "+class, fmt.Sprintf("%sL%.1f %.1fL%.1f %.1fZ", line.String(), x(float64(len(samples))-0.5), height, x(0.5), height))
	d.path("curve "+class, line.String())
	total := time.Duration(len(samples)) * every
	d.text("tick", "start", left, height+17, "0")
	d.text("tick", "end", chartWidth-right, height+17, duration(total))
	return d.html(label)
}

// A curve is one line of a line chart.
type curve struct {
	name   string
	class  string
	points [][2]float64
}

// last is the height at which the curve ends.
func (c curve) last() float64 {
	if len(c.points) == 0 {
		return 0
	}
	return c.points[len(c.points)-1][1]
}

// rateChart draws rates (0 to 1) over fill, logarithmic upwards.
func rateChart(label string, curves []curve) template.HTML {
	const height, left, right = 260.0, 58.0, 130.0
	const low = -6.0
	most := 1.0
	for _, c := range curves {
		for _, p := range c.points {
			most = max(most, p[0])
		}
	}
	d := newDrawing(chartWidth+80, height+axisHeight)
	width := d.width
	x := func(v float64) float64 { return left + v/most*(width-left-right) }
	y := func(v float64) float64 { return 10 + math.Log10(max(v, 1e-6))/low*(height-20) }
	for e := low; e <= 0; e++ {
		d.line("grid", left, y(math.Pow(10, e)), width-right, y(math.Pow(10, e)))
		d.text("tick", "end", left-6, y(math.Pow(10, e))+4, share(math.Pow(10, e)))
	}
	for _, f := range []float64{0, 0.5, 1, 1.5} {
		if f <= most {
			d.line("grid", x(f), 10, x(f), height-10)
			d.text("tick", "middle", x(f), height+8, share(f))
		}
	}
	// From the top down, so that names pushed apart keep their curves' order.
	slices.SortStableFunc(curves, func(a, b curve) int { return cmp.Compare(b.last(), a.last()) })
	ends := make([]float64, 0, len(curves))
	for _, c := range curves {
		var line strings.Builder
		letter := 'M'
		for _, p := range c.points {
			if p[1] < math.Pow(10, low) {
				continue // too rare to be seen with so many probes
			}
			fmt.Fprintf(&line, "%c%.1f %.1f", letter, x(p[0]), y(p[1]))
			letter = 'L'
		}
		d.path("series "+c.class, line.String())
		if len(c.points) == 0 {
			continue
		}
		last := c.points[len(c.points)-1]
		at := apart(ends, y(last[1])+4)
		ends = append(ends, at)
		d.text("end "+c.class, "start", x(last[0])+6, at, c.name)
	}
	return d.html(label)
}

// apart moves y until it is a line's height from all of taken.
func apart(taken []float64, y float64) float64 {
	const gap = 13
	for tries := 0; tries < 2*len(taken)+1; tries++ {
		free := true
		for _, t := range taken {
			if math.Abs(t-y) < gap {
				y, free = t+gap, false
			}
		}
		if free {
			break
		}
	}
	return y
}
