// Package rocketadmin makes topics and consumer groups for tests by the remoting
// protocol, in milliseconds: RocketMQ's own tool is a Java program that takes
// seconds for each.
package rocketadmin

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"
)

// Codes of requests, as in RocketMQ's RequestCode.
const (
	updateTopic = 17
	topicRoute  = 105
	updateGroup = 200
)

// Topic makes a topic of the type NORMAL or FIFO with four queues on the broker.
func Topic(broker, name, kind string) error {
	return call(broker, updateTopic, map[string]string{
		"topic": name, "defaultTopic": "TBW102", "readQueueNums": "4", "writeQueueNums": "4", "perm": "6",
		"topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false", "attributes": "+message.type=" + kind,
	}, nil)
}

// AwaitRoute waits until the name server knows where a topic lies: a broker that has not yet
// told it of itself tells it of new topics half a minute later, and until then a client of
// version 4 is refused.
func AwaitRoute(nameServer, topic string) error {
	for end := time.Now().Add(time.Minute); ; <-time.After(50 * time.Millisecond) {
		err := call(nameServer, topicRoute, map[string]string{"topic": topic}, nil)
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

// Group makes a consumer group on the broker. retries is how often a message is
// delivered again before it goes to the dead letters.
func Group(broker, name string, orderly bool, retries int) error {
	body, err := json.Marshal(map[string]any{
		"groupName": name, "consumeEnable": true, "consumeFromMinEnable": true, "consumeBroadcastEnable": true,
		"consumeMessageOrderly": orderly, "retryQueueNums": 1, "retryMaxTimes": retries, "brokerId": 0,
		"whichBrokerWhenConsumeSlowly": 1, "notifyConsumerIdsChangedEnable": true, "groupSysFlag": 0, "consumeTimeoutMinute": 15,
	})
	if err != nil {
		return err
	}
	return call(broker, updateGroup, nil, body)
}

type header struct {
	Code      int               `json:"code"`
	Language  string            `json:"language"`
	Version   int               `json:"version"`
	Opaque    int               `json:"opaque"`
	Flag      int               `json:"flag"`
	Remark    string            `json:"remark,omitempty"`
	ExtFields map[string]string `json:"extFields,omitempty"`
}

// call sends one request and waits for its answer. A frame is its length, the
// length of its header (the upper byte says that it is JSON), header, body.
func call(broker string, code int, fields map[string]string, body []byte) error {
	conn, err := net.DialTimeout("tcp", broker, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	head, err := json.Marshal(header{Code: code, Language: "GO", Version: 431, Opaque: 1, ExtFields: fields})
	if err != nil {
		return err
	}
	frame := binary.BigEndian.AppendUint32(nil, uint32(4+len(head)+len(body)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(head)))
	frame = append(append(frame, head...), body...)
	if _, err := conn.Write(frame); err != nil {
		return err
	}
	var sizes [8]byte
	if _, err := io.ReadFull(conn, sizes[:]); err != nil {
		return err
	}
	all, n := binary.BigEndian.Uint32(sizes[:]), binary.BigEndian.Uint32(sizes[4:])&0xffffff
	if all > 1<<20 || n > all {
		return fmt.Errorf("rocketadmin: an answer of %d bytes", all)
	}
	answer := make([]byte, n)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	var h header
	if err := json.Unmarshal(answer, &h); err != nil {
		return fmt.Errorf("rocketadmin: %w in %q", err, answer)
	}
	if h.Code != 0 {
		return fmt.Errorf("rocketadmin: request %d: code %d: %s", code, h.Code, h.Remark)
	}
	return nil
}
