// Package pgproxy passes sessions of PostgreSQL's protocol on to a service's primary, and takes those that are idle to the next
// one when the primary changes.
//
// # What it promises
//
// A client's session is one server session at a time; nothing is shared between clients. A session that is idle when its server goes
// waits for its next request, which brings it to the primary of that time. A request is sent twice only when none of it can have
// reached a server. A session is on no server but the one that the pool holds for the primary: when that is gone, the connection is
// cut at once, as in tcpproxy.
//
// # What it knows
//
// Type and length of each message, and of a few kinds what is in them: whether the server is done (ReadyForQuery, Sync), what another server
// has to be told (Parse, SET), and what none can be told (LISTEN, temporary tables, advisory locks and the like: ties). Bodies
// pass as they are read.
//
// The package must not keep passwords: a client proves its own by SCRAM, and the key that the proof shows logs in to servers that have the
// same verifier.
//
// # Where to find what
//
// session.go is a session's life, login.go and scram.go its way in, relay.go what passes and ending.go how it goes; restore.go brings it to
// another server. track.go reads what the client asks and answers.go what became of it: they do no I/O, and words.go reads SQL for them.
package pgproxy
