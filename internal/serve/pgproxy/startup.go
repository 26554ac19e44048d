package pgproxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/reach"
	"github.com/backstay/backstay/internal/serve/transport"
)

// What a client's first packet may ask for, instead of a version.
const (
	askTLS    = 80877103
	askGSS    = 80877104
	askCancel = 80877102
)

// maxStartup is the most that a first packet may have: PostgreSQL's own bound.
const maxStartup = 10000

// startup is what a client has asked for. It is said to every server that the session comes to.
type startup struct {
	user, database string
	replication    bool
	packet         []byte   // for the server
	unknown        []string // options of a newer protocol
	minor          uint32
}

// errCanceling says that the connection was there to cancel another's request.
var errCanceling = errors.New("a request to cancel was passed on")

// open finds out who the client is and what it wants.
func (s *session) open(ctx context.Context) (telemetry.Refusal, error) {
	announced, err := s.listener.Proxy.Read(ctx, s.socket)
	s.from = announced.Source
	if err != nil {
		return telemetry.RefusedProxyProtocol, err
	}
	stop := context.AfterFunc(ctx, func() { reach.Reset(s.socket) })
	defer stop()
	s.hurry()
	for {
		code, body, err := readFirst(s.client)
		switch {
		case err != nil:
			return refusal(err), err
		case code == askTLS || code == askGSS:
			if why, err := s.negotiate(ctx, code); err != nil {
				return why, err
			}
		case code == askCancel:
			s.server.cancel(ctx, body)
			return 0, errCanceling
		default:
			if s.listener.TLS != nil && s.client == s.socket {
				err := s.refuse(codeAuthorize, "this listener takes encrypted sessions only", "Connect with sslmode=require, or better verify-full.")
				return telemetry.RefusedTLS, err
			}
			if err := s.start.read(code, body); err != nil {
				return telemetry.RefusedBadRequest, s.refuse(codeProtocol, err.Error(), "")
			}
			return 0, nil
		}
	}
}

// hurry bounds how long the client may take for its next message.
func (s *session) hurry() {
	if limit := time.Duration(s.listener.Config.Timeout.Head); limit > 0 {
		_ = s.socket.SetDeadline(time.Now().Add(limit)) // fails only on a closed connection
	}
}

func refusal(err error) telemetry.Refusal {
	if transport.Reason(err) == "timeout" {
		return telemetry.RefusedTimeout
	}
	return telemetry.RefusedBadRequest
}

// refuse tells the client why, and returns it as an error.
func (s *session) refuse(code, text, hint string) error {
	_, _ = s.client.Write(encode(fatal(code, text, hint))) // it may be gone
	return fmt.Errorf("%s (%s)", text, code)
}

// readFirst reads a packet of the kind that comes before the session, and nothing behind it.
func readFirst(r io.Reader) (code uint32, body []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size < 8 || size > maxStartup {
		return 0, nil, fmt.Errorf("not a PostgreSQL client: its first packet claims %d bytes", size)
	}
	body = make([]byte, size-8)
	_, err = io.ReadFull(r, body)
	return binary.BigEndian.Uint32(head[4:]), body, err
}

// negotiate answers a wish for encryption.
func (s *session) negotiate(ctx context.Context, code uint32) (telemetry.Refusal, error) {
	if s.client != s.socket {
		return telemetry.RefusedBadRequest, errors.New("encryption was asked for twice")
	}
	if code == askGSS || s.listener.TLS == nil {
		_, err := s.client.Write([]byte{'N'})
		return telemetry.RefusedBadRequest, err
	}
	if _, err := s.client.Write([]byte{'S'}); err != nil {
		return telemetry.RefusedTLS, err
	}
	t := tls.Server(s.socket, s.listener.TLS.Config())
	if err := t.HandshakeContext(ctx); err != nil {
		return telemetry.RefusedTLS, fmt.Errorf("%w: %w", transport.ErrTLS, err)
	}
	s.client = t
	s.hurry()
	return 0, nil
}

// read takes in a first packet of protocol 3.
func (st *startup) read(version uint32, body []byte) error {
	if version>>16 != 3 {
		return fmt.Errorf("unsupported frontend protocol %d.%d: the listener supports 3.0", version>>16, version&0xffff)
	}
	st.minor = version & 0xffff
	packet := binary.BigEndian.AppendUint32(make([]byte, 4, 8+len(body)), 3<<16)
	fields := bytes.Split(body, []byte{0})
	if len(fields)%2 != 0 || len(fields) < 2 || len(fields[len(fields)-1]) > 0 || len(fields[len(fields)-2]) > 0 {
		return errors.New("invalid startup packet layout: expected terminator as last byte")
	}
	for i := 0; i+2 < len(fields); i += 2 {
		name, value := string(fields[i]), string(fields[i+1])
		switch {
		case strings.HasPrefix(name, "_pq_."):
			st.unknown = append(st.unknown, name)
			continue
		case name == "user":
			st.user = value
		case name == "database":
			st.database = value
		case name == "replication":
			st.replication = value != "false" && value != "off" && value != "no" && value != "0"
		}
		for _, field := range fields[i : i+2] {
			packet = append(append(packet, field...), 0)
		}
	}
	if st.user == "" {
		return errors.New("no PostgreSQL user name specified in startup packet")
	}
	if st.database == "" {
		st.database = st.user
	}
	packet = append(packet, 0)
	binary.BigEndian.PutUint32(packet, uint32(len(packet)))
	st.packet = packet
	return nil
}

// downgrade is what a client of a newer protocol has to hear first; nil where there is nothing to say.
func (st *startup) downgrade() []byte {
	if st.minor == 0 && len(st.unknown) == 0 {
		return nil
	}
	return encode(&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: 3 << 16, UnrecognizedOptions: st.unknown})
}
