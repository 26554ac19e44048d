// Package transport is what lies below the protocols: listening sockets that outlive a reload, accepting
// without falling over, the PROXY protocol, TLS on both sides and connections to members.
//
// It hands out plain *net.TCPConn wherever it can, so that the proxies above may splice in the kernel. It knows
// nothing of HTTP, of services or of how members are chosen.
package transport
