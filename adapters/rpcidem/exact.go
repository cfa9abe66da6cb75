package rpcidem

import (
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/runtime/protoiface"
)

// sameBytes returns m, or, where two encodings of m may differ, a message with the
// same fields that is encoded as wire. Maps are what makes them differ: protobuf
// writes their entries in another order each time.
func sameBytes(m proto.Message, wire []byte) proto.Message {
	if !varies(m.ProtoReflect().Descriptor()) {
		return m
	}
	return exact{m, wire}
}

// variesCache has the answers of varies by descriptor.
var variesCache sync.Map

// varies says whether a message may have a map in it, at any depth. Extensions
// are not known beforehand, so a message that may have some counts as well.
func varies(d protoreflect.MessageDescriptor) bool {
	if v, ok := variesCache.Load(d); ok {
		return v.(bool)
	}
	v := holdsMap(d, map[protoreflect.FullName]bool{})
	variesCache.Store(d, v)
	return v
}

func holdsMap(d protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) bool {
	if seen[d.FullName()] {
		return false
	}
	seen[d.FullName()] = true
	if d.ExtensionRanges().Len() > 0 {
		return true
	}
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		if f.IsMap() || f.Message() != nil && holdsMap(f.Message(), seen) {
			return true
		}
	}
	return false
}

// exact is a message that is encoded as wire.
type exact struct {
	proto.Message
	wire []byte
}

// ProtoReflect implements proto.Message.
func (e exact) ProtoReflect() protoreflect.Message {
	return exactReflect{e.Message.ProtoReflect(), e}
}

type exactReflect struct {
	protoreflect.Message
	e exact
}

// Interface implements protoreflect.Message.
func (r exactReflect) Interface() protoreflect.ProtoMessage { return r.e }

// ProtoMethods implements protoreflect.Message.
func (r exactReflect) ProtoMethods() *protoiface.Methods {
	return &protoiface.Methods{
		Flags: protoiface.SupportMarshalDeterministic,
		Size: func(protoiface.SizeInput) protoiface.SizeOutput {
			return protoiface.SizeOutput{Size: len(r.e.wire)}
		},
		Marshal: func(in protoiface.MarshalInput) (protoiface.MarshalOutput, error) {
			return protoiface.MarshalOutput{Buf: append(in.Buf, r.e.wire...)}, nil
		},
	}
}
