// Package httpproxy is the HTTP data plane: it takes requests from clients, finds the route, and carries each to a
// member of the route's service, again to another where that is safe, until one answer goes back.
//
// The core is the exchange: one request on its way, whichever protocol it came by and leaves by. Its steps are
//
//	admit → route → pick → try → judge → answer → account
//
// A client (the side that asks) and a stream (one try on a member) are small interfaces with back-pressure both ways;
// HTTP/1.1 is implemented here on http1, one goroutine for each connection, without allocation per request.
//
// What is read once per request is the snapshot; what lives longer belongs to pool. The package must not decide who is
// healthy, and must never send a request twice that may have been processed, unless repeating it is safe.
package httpproxy
