// Package connectidem has the interceptors of package rpcidem for
// connectrpc.com/connect, for all of the protocols that it speaks.
//
//	s, err := rpcidem.New(guard, rpcidem.Options{})
//	path, handler := pbconnect.NewPaymentsHandler(p, connect.WithInterceptors(connectidem.Server(s)))
//
//	retry, err := connectidem.Client(rpcidem.Retry{})
//	client := pbconnect.NewPaymentsClient(http.DefaultClient, url, connect.WithInterceptors(retry))
//
// What they guarantee stands in rpcidem. Interceptors may be used by any number of
// goroutines. They see unary calls only: streams pass untouched, and so do calls
// by GET, which have no side effects.
//
// connect does not tell an interceptor the client's TLS certificate: without an
// authorization header, set Options.Scope.
package connectidem
