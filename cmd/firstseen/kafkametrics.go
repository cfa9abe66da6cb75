package main

import (
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/firstseen/firstseen/adapters/kafka/partitioned"
	fsprom "github.com/firstseen/firstseen/metrics/prometheus"
)

// serveMetrics serves a node's numbers and the process's, until stop is called.
func serveMetrics(a *app, address string, stats func() partitioned.Stats) (stop func(), err error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(fsprom.Kafka(stats, nil), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--listen: metrics can't be served: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	fmt.Fprintf(a.err, "firstseen: metrics at http://%s/metrics\n", listener.Addr())
	go func() { _ = server.Serve(listener) }() // ends with stop
	return func() { _ = server.Close() }, nil
}
