package httpproxy

import (
	"github.com/backstay/backstay/internal/serve/http1"
)

// A piece is a part of a body. It is valid until the next one is asked for; the one with End stays valid until the
// exchange is over.
type piece struct {
	Data     []byte
	End      bool // nothing follows
	Trailers []http1.Field
}

// A source gives a body piece by piece.
type source interface {
	// Next waits for the next piece and returns all that is there, so that a piece is worth passing on at once. After a
	// piece with End it is not called again.
	Next() (piece, error)
	// Ready says whether Next would return without waiting.
	Ready() bool
}

// A client is the side that asked, for the length of one exchange. Where a method fails the client is gone or broke
// the rules; nothing more can be told to it.
type client interface {
	source // the request's body
	// Answer takes the head of an answer. An interim one (1xx) is sent at once; a final one leaves together with the
	// first piece of its body, and until then another may take its place.
	Answer(a *answer) error
	// Write sends a piece of the answer's body, and whatever was held back.
	Write(p piece) error
	// Abort makes sure that the client does not take what it has for the whole answer.
	Abort()
	// Interrupt ends a Next under way in another goroutine, with an error. Resume lets Next go on afterwards.
	Interrupt()
	Resume()
}

// A stream is one try: a request on its way to a member and the answer on its way back. Receive and Next are called by one
// goroutine, Write by at most one other.
type stream interface {
	source // the answer's body
	// Send sends the request's head with the first piece of its body; where that has no End, Write follows.
	Send(a *ask, first piece) error
	// Write sends a further piece of the request's body.
	Write(p piece) error
	// Receive waits for the next head of an answer, interim ones included, until by (0: for ever). Errors before any byte of it
	// are a *tryError.
	Receive(r *http1.Response, by instant) error
	// Interrupt ends whatever is under way on the stream in other goroutines. Only Close may follow.
	Interrupt()
	// Close gives the stream back; the answer was read to its end or it is cut off.
	Close()
}

// An ask is a request as a member sees it.
type ask struct {
	Request     *http1.Request // with Drop set on all that is left out or replaced
	Path, Query []byte
	Host        []byte // replaces the Host field, which then has Drop set; nil where that stays
	Extra       []byte // further field lines, each with its CRLF
	Upgrade     []byte // the protocols offered; nil for none
	Secure      bool   // what the member gets to hear of scheme
}

// An answer is the head of a response as a client sees it.
type answer struct {
	Response *http1.Response // of a member, with Drop set on what is left out; nil for an answer of our own
	Status   int
	Extra    []byte // further field lines, each with its CRLF
	Length   int64  // of the body, as in http1.Response
	Upgrade  []byte // the protocol changed to, with status 101
	Early    bool   // another goroutine is still reading the request's body
}
