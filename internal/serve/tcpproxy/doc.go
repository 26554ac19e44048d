// Package tcpproxy passes TCP sessions on to members of services: bytes both ways, in the kernel where it can, with
// half-closes kept, idle sessions ended and sessions cut or left to drain as members come and go.
//
// # What it promises
//
// A session is tried on another member only before a byte of the client was delivered to a member; PostgreSQL's, which does nothing
// for a client that it has not answered, also until the first byte of an answer, with what the client has said so far. A side that breaks
// off is passed on as a reset, not as an orderly end: truncated data never looks complete. What is cut sees a reset at once.
//
// # How bytes move
//
// Each direction has a goroutine. It reads into a borrowed buffer only when bytes are there, so that a silent session
// holds no buffer and no pipe. Once full buffers come one after the other it moves on to splice(2) through a borrowed pipe,
// and back when the stream thins out: short exchanges cost two system calls, bulk never enters user space. (io.Copy on two
// TCP connections would splice too, but holds a pipe, two descriptors, for each direction of each idle session, and tells how
// much it moved only at the end, which is too late to find idle sessions by.)
//
// The package must not parse what passes, but for the name in a TLS client's first message.
package tcpproxy
