package rocketmq

import (
	"context"

	rmq "github.com/apache/rocketmq-clients/golang/v5"

	"github.com/firstseen/firstseen/adapters/consume"
)

// Listener returns a listener for rmq.WithPushMessageListener.
func (a *Adapter) Listener(h Handler) *rmq.FuncMessageListener {
	handle := handler(h)
	return &rmq.FuncMessageListener{Consume: func(m *rmq.MessageView) rmq.ConsumerResult {
		ctx := context.Background() // the client has none to give
		cm := a.message(m)
		cm.Wait = a.o.PushWait
		d := a.c.Handle(ctx, cm, handle)
		if d.Action == consume.Ack || d.Action == consume.Reject && a.refused(ctx, m, d.Err) {
			return rmq.SUCCESS
		}
		return rmq.FAILURE
	}}
}
