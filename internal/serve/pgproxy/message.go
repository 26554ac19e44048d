package pgproxy

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5/pgproto3"
)

// SQLSTATEs that sessions end with, and those of servers that take no sessions at the moment.
const (
	codeShutdown  = "57P01" // admin_shutdown: the session is over, nothing is in doubt
	codeCrash     = "57P02"
	codeNotNow    = "57P03" // cannot_connect_now
	codeIdle      = "57P05" // idle_session_timeout
	codeUnknown   = "08007" // transaction_resolution_unknown
	codeProtocol  = "08P01"
	codePassword  = "28P01"
	codeTooMany   = "53300"
	codeAuthorize = "28000"
)

// fatal makes the ErrorResponse that ends a session.
func fatal(code, message, hint string) *pgproto3.ErrorResponse {
	return &pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: message, Hint: hint}
}

// encode puts messages one after the other.
func encode(messages ...interface {
	Encode([]byte) ([]byte, error)
}) []byte {
	var out []byte
	for _, m := range messages {
		var err error
		if out, err = m.Encode(out); err != nil {
			panic(err) // only for messages of more than a GiB
		}
	}
	return out
}

// readMessage reads one message of at most most bytes, and nothing behind it. It is for the time before a session is open, when
// messages are few.
func readMessage(r io.Reader, most int) (kind byte, body []byte, err error) {
	var head [headSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	size := int64(binary.BigEndian.Uint32(head[1:])) - 4
	if size < 0 || size > int64(most) {
		return 0, nil, fmt.Errorf("a message of type %q claims %d bytes; at most %d were expected", head[0], size, most)
	}
	body = make([]byte, size)
	_, err = io.ReadFull(r, body)
	return head[0], body, err
}

// message puts a head before a body.
func message(kind byte, body []byte) []byte {
	out := make([]byte, headSize, headSize+len(body))
	out[0] = kind
	binary.BigEndian.PutUint32(out[1:], uint32(len(body)+4))
	return append(out, body...)
}
