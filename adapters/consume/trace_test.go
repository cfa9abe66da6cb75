package consume_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/internal/memguard"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
	"go.opentelemetry.io/otel/trace/noop"
)

// A recorder is a provider that keeps the spans that were ended: the SDK would be
// a dependency for one test.
type recorder struct {
	embedded.TracerProvider
	mu    sync.Mutex
	spans []*span
}

type span struct {
	noop.Span
	r      *recorder
	name   string
	parent trace.Span
	attrs  []attribute.KeyValue
	status codes.Code
}

type tracer struct {
	embedded.Tracer
	r *recorder
}

func (r *recorder) Tracer(string, ...trace.TracerOption) trace.Tracer { return tracer{r: r} }

func (t tracer) Start(ctx context.Context, name string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	s := &span{r: t.r, name: name, parent: trace.SpanFromContext(ctx)}
	return trace.ContextWithSpan(ctx, s), s
}

func (s *span) IsRecording() bool                      { return true }
func (s *span) SetAttributes(kv ...attribute.KeyValue) { s.attrs = append(s.attrs, kv...) }
func (s *span) SetStatus(code codes.Code, _ string)    { s.status = code }
func (s *span) End(...trace.SpanEndOption) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	s.r.spans = append(s.r.spans, s)
}

func TestSpans(t *testing.T) {
	var g memguard.Guard
	r := new(recorder)
	c := newConsumer(t, &g, consume.Options{TracerProvider: r})
	c.HandleBatch(ctx, messages("a", "a", "bad"), func(ctx context.Context, m consume.Message) error {
		if s, ok := trace.SpanFromContext(ctx).(*span); !ok || s.name != "firstseen handle" {
			t.Error("the handler's context has no span of the consumer")
		}
		if string(m.Key) == "bad" {
			return errors.New("bad")
		}
		return nil
	})
	if len(r.spans) != 3 {
		t.Fatalf("%d spans, want one of the batch and two of handlers", len(r.spans))
	}
	batch := r.spans[2]
	for i, want := range []codes.Code{codes.Unset, codes.Error} {
		if s := r.spans[i]; s.parent != batch || s.status != want || !slices.Contains(s.attrs, attribute.String("firstseen.verdict", "fresh")) {
			t.Errorf("span %d has the status %v and %v", i, s.status, s.attrs)
		}
	}
	for _, want := range []attribute.KeyValue{
		attribute.Int("messaging.batch.message_count", 3), attribute.Int("firstseen.acked", 2),
		attribute.Int("firstseen.retried", 1), attribute.Int("firstseen.duplicates", 1),
	} {
		if !slices.Contains(batch.attrs, want) {
			t.Errorf("the batch's span lacks %v", want)
		}
	}
}
