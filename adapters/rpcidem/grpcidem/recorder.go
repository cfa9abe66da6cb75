package grpcidem

import (
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// A recorder keeps a handler's metadata back until its answer is stored.
type recorder struct {
	grpc.ServerTransportStream
	mu struct {
		sync.Mutex
		header, trailer metadata.MD
	}
}

// SetHeader implements grpc.ServerTransportStream.
func (r *recorder) SetHeader(md metadata.MD) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.header = metadata.Join(r.mu.header, md)
	return nil
}

// SendHeader implements grpc.ServerTransportStream.
func (r *recorder) SendHeader(md metadata.MD) error { return r.SetHeader(md) }

// SetTrailer implements grpc.ServerTransportStream.
func (r *recorder) SetTrailer(md metadata.MD) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.trailer = metadata.Join(r.mu.trailer, md)
	return nil
}
