// Package grpcidem has the interceptors of package rpcidem for google.golang.org/grpc.
//
//	s, err := rpcidem.New(guard, rpcidem.Options{})
//	server := grpc.NewServer(grpc.ChainUnaryInterceptor(grpcidem.Server(s)))
//
//	retry, err := grpcidem.Client(rpcidem.Retry{})
//	conn, err := grpc.NewClient(target, grpc.WithChainUnaryInterceptor(retry))
//
// What they guarantee stands in rpcidem. Interceptors may be used by any number of
// goroutines. They see unary calls only: streams pass untouched.
//
// Headers that a handler sends at once (grpc.SendHeader) are kept back until its
// answer is stored, as all of it is.
package grpcidem
