package rpcidem

import (
	"fmt"
	"slices"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/firstseen/firstseen/adapters/intents"
	"github.com/firstseen/firstseen/adapters/internal/idem"
	"github.com/firstseen/firstseen/dedup/keys"
)

// What the record of a call has as its payload: parts as keys.Join writes them.
//
//	kind           "m" message, "e" error
//	name           full name of the message, "" for an error
//	body           the encoded message, or the encoded google.rpc.Status
//	metadata       three parts for each value: "h" header or "t" trailer, name, value
const (
	kindMessage = "m"
	kindError   = "e"
	fixedParts  = 3
)

var deterministic = proto.MarshalOptions{Deterministic: true}

// appendAnswer appends the payload of an answer, with the metadata in names. wire
// is the encoded message.
func appendAnswer(b []byte, a *Answer, wire []byte, names []string) ([]byte, error) {
	if a.Status == nil {
		b = keys.Append(b, kindMessage, string(a.Message.ProtoReflect().Descriptor().FullName()))
		b = keys.Append(b, wire)
	} else {
		status, err := deterministic.Marshal(a.Status)
		if err != nil {
			return nil, err
		}
		b = keys.Append(b, kindError, "")
		b = keys.Append(b, status)
	}
	for _, name := range names {
		for _, v := range a.Header[name] {
			b = keys.Append(b, "h", name, v)
		}
		for _, v := range a.Trailer[name] {
			b = keys.Append(b, "t", name, v)
		}
	}
	return b, nil
}

// appendOutcome appends the payload of an outcome that was settled by hand, or
// returns nil where it has no answer for a call.
func appendOutcome(b []byte, o intents.Outcome) []byte {
	if o.Status != 200 {
		return nil
	}
	return keys.Append(keys.Append(b, kindMessage, o.ContentType), o.Body)
}

// decodeAnswer reads a payload and gives the answer again.
func decodeAnswer(data []byte) (a Answer, err error) {
	parts, err := keys.Split(data)
	if err != nil {
		return Answer{}, err
	}
	if len(parts) < fixedParts || len(parts)%3 != 0 {
		return Answer{}, idem.ErrRecord
	}
	kind, name, body := string(parts[0]), protoreflect.FullName(parts[1]), parts[2]
	switch kind {
	case kindMessage:
		if a.Message, err = decodeMessage(name, body); err != nil {
			return Answer{}, err
		}
	case kindError:
		a.Status = &spb.Status{}
		if err := proto.Unmarshal(body, a.Status); err != nil {
			return Answer{}, err
		}
		if a.Status.GetCode() == 0 {
			return Answer{}, idem.ErrRecord
		}
	default:
		return Answer{}, idem.ErrRecord
	}
	a.Header, a.Trailer = map[string][]string{}, map[string][]string{}
	for field := range slices.Chunk(parts[fixedParts:], 3) {
		to := a.Header
		if string(field[0]) == "t" {
			to = a.Trailer
		}
		to[string(field[1])] = append(to[string(field[1])], string(field[2]))
	}
	return a, nil
}

func decodeMessage(name protoreflect.FullName, body []byte) (proto.Message, error) {
	t, err := protoregistry.GlobalTypes.FindMessageByName(name)
	if err != nil {
		return nil, fmt.Errorf("the stored message %q is not of this service: %w", name, err)
	}
	m := t.New().Interface()
	if err := proto.Unmarshal(body, m); err != nil {
		return nil, err
	}
	return sameBytes(m, body), nil
}
