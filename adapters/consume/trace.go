package consume

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Spans: one for each call, with the number of messages and of what was decided,
// and in it one for each handler that runs.

func (r *round) startBatch() trace.Span {
	if r.look {
		return trace.SpanFromContext(context.Background()) // records nothing
	}
	var span trace.Span
	r.ctx, span = r.c.tracer.Start(r.ctx, "firstseen consume", trace.WithSpanKind(trace.SpanKindConsumer))
	return span
}

// endBatch writes what became of the round into its span.
func (r *round) endBatch(span trace.Span) {
	if span.IsRecording() {
		var actions [len(actionNames)]int
		duplicates := 0
		for i := range r.ds {
			actions[r.ds[i].Action]++
			if r.ds[i].Reason == Duplicated {
				duplicates++
			}
		}
		span.SetAttributes(
			attribute.Int("messaging.batch.message_count", len(r.ds)),
			attribute.Int("firstseen.acked", actions[Ack]),
			attribute.Int("firstseen.retried", actions[Retry]),
			attribute.Int("firstseen.rejected", actions[Reject]),
			attribute.Int("firstseen.duplicates", duplicates),
		)
	}
	span.End()
}

func (r *round) startOne(ctx context.Context, i int) (context.Context, trace.Span) {
	ctx, span := r.c.tracer.Start(ctx, "firstseen handle")
	if span.IsRecording() {
		s, d := r.items[i].scope, r.ds[i]
		span.SetAttributes(
			attribute.String("messaging.destination.name", s.Topic),
			attribute.String("firstseen.verdict", d.Verdict.String()),
			attribute.Bool("firstseen.unguarded", d.Unguarded),
			attribute.Int("firstseen.deliveries", r.msgs[i].Deliveries),
		)
	}
	return ctx, span
}

func endOne(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
