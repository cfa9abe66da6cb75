package fsprom

import (
	"github.com/prometheus/client_golang/prometheus"
)

// A series is one line of a scrape: how to get its value out of the numbers S.
type series[S any] struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	labels []string // values of the labels that the series itself brings
	value  func(*S) float64
}

// A page is all series of one kind of numbers.
type page[S any] struct {
	prefix string
	labels []string // names of the labels that collect is given values for
	fixed  prometheus.Labels
	series []series[S]
}

// number is what the counters are made of.
type number interface {
	~int | ~int64 | ~uint64 | ~float64
}

// counter adds a value that only grows. Its name gets the suffix _total.
func counter[S any, N number](p *page[S], name, help string, value func(*S) N) {
	p.add(prometheus.CounterValue, name+"_total", help, nil, nil, func(s *S) float64 { return float64(value(s)) })
}

// gauge adds a value that goes up and down.
func gauge[S any, N number](p *page[S], name, help string, value func(*S) N) {
	p.add(prometheus.GaugeValue, name, help, nil, nil, func(s *S) float64 { return float64(value(s)) })
}

// counterBy adds one counter for each of some values of a label.
func counterBy[S any](p *page[S], name, help, label string, parts ...part[S]) {
	for _, c := range parts {
		p.add(prometheus.CounterValue, name+"_total", help, []string{label}, []string{c.is},
			func(s *S) float64 { return float64(c.value(s)) })
	}
}

// A part is one value of a counter's label.
type part[S any] struct {
	is    string
	value func(*S) uint64
}

func (p *page[S]) add(kind prometheus.ValueType, name, help string, names, values []string, value func(*S) float64) {
	all := append(append([]string{}, p.labels...), names...)
	p.series = append(p.series, series[S]{
		desc: prometheus.NewDesc(p.prefix+name, help, all, p.fixed), kind: kind, labels: values, value: value,
	})
}

func (p *page[S]) describe(ch chan<- *prometheus.Desc) {
	for i := range p.series {
		ch <- p.series[i].desc
	}
}

// collect sends all series of s, with values for the page's labels.
func (p *page[S]) collect(ch chan<- prometheus.Metric, s *S, values ...string) {
	for i := range p.series {
		r := &p.series[i]
		all := append(append([]string{}, values...), r.labels...)
		ch <- prometheus.MustNewConstMetric(r.desc, r.kind, r.value(s), all...)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
