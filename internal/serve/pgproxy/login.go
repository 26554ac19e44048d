package pgproxy

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/reach"
)

// What a server may ask for, or say, at a login.
const (
	authOK       = 0
	authSASL     = 10
	authSASLMore = 11
	authSASLEnd  = 12
)

// refused is a server's last word, for the client's ears.
type refused struct {
	raw    []byte
	detail pgproto3.ErrorResponse
}

func (r *refused) Error() string { return r.detail.Message + " (" + r.detail.Code + ")" }

// loginTime bounds what a server may take for a login, its client's part apart.
const loginTime = 20 * time.Second

// login opens a session on the member. The first time, the client is asked for what the server asks for; later the session logs in
// by itself.
func (s *session) login(ctx context.Context, m *pool.Member) (*link, error) {
	l, err := s.dial(ctx, m)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { reach.Reset(l.socket) })
	err = s.enter(ctx, l)
	if !stop() && err == nil {
		err = broken(context.Cause(ctx))
	}
	if err == nil {
		err = broken(l.socket.SetDeadline(time.Time{}))
	}
	if err != nil {
		reach.Reset(l.socket)
		return nil, err
	}
	return l, nil
}

func (s *session) enter(ctx context.Context, l *link) error {
	_ = l.socket.SetDeadline(time.Now().Add(loginTime)) // fails only on a closed connection
	if err := l.write(s.start.packet); err != nil {
		return err
	}
	if err := s.authenticate(ctx, l); err != nil {
		return err
	}
	_ = l.socket.SetDeadline(time.Now().Add(loginTime))
	for {
		kind, body, err := l.read()
		if err != nil {
			return err
		}
		switch kind {
		case 'S':
			name := cstring(body)
			if rest := body[len(name):]; len(rest) > 1 {
				l.parameters[string(name)] = string(cstring(rest[1:]))
			}
		case 'K':
			if len(body) == len(l.key) { // else it cannot be canceled
				copy(l.key[:], body)
			}
		case 'N':
			l.greeting = append(l.greeting, message(kind, body)...)
		case 'E':
			return s.turnedAway(body)
		case 'Z':
			if l.parameters["in_hot_standby"] == "on" && s.server.primaryOnly(s.service) {
				return fmt.Errorf("%w: %s is a standby", reach.ErrNotYet, l.member.Name())
			}
			return nil
		default:
			return fmt.Errorf("%w: a message of type %q during the login", reach.ErrFinal, kind)
		}
	}
}

// turnedAway is an ErrorResponse to a login: for the client, unless the server will say otherwise in a moment.
func (s *session) turnedAway(body []byte) error {
	r := &refused{raw: message('E', body)}
	if err := r.detail.Decode(body); err != nil {
		return fmt.Errorf("%w: %w", reach.ErrFinal, err)
	}
	switch r.detail.Code {
	case codeShutdown, codeCrash, codeNotNow:
		return fmt.Errorf("%w: %w", reach.ErrNotYet, r)
	}
	return fmt.Errorf("%w: %w", reach.ErrFinal, r)
}

// authenticate answers what the server asks for, up to AuthenticationOk.
func (s *session) authenticate(ctx context.Context, l *link) error {
	for {
		kind, body, err := l.read()
		switch {
		case err != nil:
			return err
		case kind == 'N':
			l.greeting = append(l.greeting, message(kind, body)...)
			continue
		case kind == 'v':
			continue
		case kind == 'E':
			return s.turnedAway(body)
		case kind != 'R' || len(body) < 4:
			return fmt.Errorf("%w: a message of type %q instead of a request for a password", reach.ErrFinal, kind)
		}
		switch what := binary.BigEndian.Uint32(body); {
		case what == authOK:
			return nil
		case what == authSASL && bytes.Contains(body, []byte(mechanism+"\x00")) && !s.track.relayed():
			asked := bytes.Clone(body)
			if s.key == nil {
				if known, err := s.challenge(ctx, l); err != nil {
					return err
				} else if !known {
					return s.relay(l, asked)
				}
			}
			return s.prove(l)
		default:
			return s.relay(l, bytes.Clone(body))
		}
	}
}

// challenge has the client prove its password, against the verifier of its role. known is false where there is none to be had, and the server has
// to ask itself.
func (s *session) challenge(ctx context.Context, l *link) (known bool, err error) {
	v, ok := s.server.verifiers.get(ctx, cmp.Or(s.service.Of, s.service.Name), l.member.Address(), s.start.user)
	if !ok {
		return false, nil
	}
	defer func() {
		if err != nil && !errors.Is(err, reach.ErrFinal) {
			err = fmt.Errorf("%w: %w", reach.ErrFinal, err) // the client's failure, not the server's
		}
	}()
	if err := s.tell(append(s.start.downgrade(), encode(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{mechanism}})...)); err != nil {
		return true, err
	}
	body, err := s.answer()
	if err != nil {
		return true, err
	}
	var first pgproto3.SASLInitialResponse
	if err := first.Decode(body); err != nil || first.AuthMechanism != mechanism {
		return true, s.refuse(codeProtocol, "client selected an invalid SASL authentication mechanism", "")
	}
	c, err := newChallenge(v, string(first.Data))
	if err != nil {
		return true, s.refuse(codeProtocol, err.Error(), "")
	}
	if err := s.tell(encode(&pgproto3.AuthenticationSASLContinue{Data: []byte(c.own)})); err != nil {
		return true, err
	}
	if body, err = s.answer(); err != nil {
		return true, err
	}
	key, final, err := c.check(string(body))
	switch {
	case errors.Is(err, errWrongPassword):
		s.server.verifiers.drop(cmp.Or(s.service.Of, s.service.Name), s.start.user) // it may be older than the password
		s.badLogin = true
		return true, s.refuse(codePassword, fmt.Sprintf("password authentication failed for user %q", s.start.user), "")
	case err != nil:
		return true, s.refuse(codeProtocol, err.Error(), "")
	}
	s.key, s.verifier = key, v
	s.promise = encode(&pgproto3.AuthenticationSASLFinal{Data: []byte(final)})
	return true, nil
}

// tell writes to the client, who has to take it in time.
func (s *session) tell(b []byte) error {
	s.hurry()
	_, err := s.client.Write(b)
	return err
}

// maxAnswer is the most that a client may say when it is asked for its password.
const maxAnswer = 16 << 10

// answer reads what the client says when it is asked for its password.
func (s *session) answer() ([]byte, error) {
	s.hurry()
	kind, body, err := readMessage(s.client, maxAnswer)
	if err == nil && kind != 'p' {
		err = s.refuse(codeProtocol, fmt.Sprintf("expected SASL response, got message type %d", kind), "")
	}
	return body, err
}

// prove logs in to the server with the key that the client's proof has shown.
func (s *session) prove(l *link) error {
	p := proof{v: s.verifier, key: s.key}
	if err := l.write(encode(&pgproto3.SASLInitialResponse{AuthMechanism: mechanism, Data: []byte(p.first())})); err != nil {
		return err
	}
	for {
		what, body, err := s.wanted(l)
		if err != nil {
			return err
		}
		switch what {
		case authSASLMore:
			last, err := p.last(string(body[4:]))
			if err != nil {
				s.server.verifiers.drop(cmp.Or(s.service.Of, s.service.Name), s.start.user)
				return s.wrong(err)
			}
			if err := l.write(encode(&pgproto3.SASLResponse{Data: []byte(last)})); err != nil {
				return err
			}
		case authSASLEnd:
			if err := p.check(string(body[4:])); err != nil {
				return s.wrong(err)
			}
		case authOK:
			if p.signature == "" {
				return s.wrong(errors.New("the server did not ask for the password"))
			}
			return nil
		}
	}
}

// wanted reads what the server wants next of a login that has begun.
func (s *session) wanted(l *link) (what uint32, body []byte, err error) {
	kind, body, err := l.read()
	switch {
	case err != nil:
		return 0, nil, err
	case kind == 'E':
		return 0, nil, s.turnedAway(body)
	case kind != 'R' || len(body) < 4:
		return 0, nil, fmt.Errorf("%w: a message of type %q during the login", reach.ErrFinal, kind)
	}
	return binary.BigEndian.Uint32(body), body, nil
}

func (s *session) wrong(err error) error {
	raw := encode(fatal(codePassword, fmt.Sprintf("password authentication failed for user %q", s.start.user), ""))
	r := &refused{raw: raw, detail: *fatal(codePassword, err.Error(), "")}
	return fmt.Errorf("%w: %w", reach.ErrFinal, r)
}

// relay passes a way of logging in on that only client and server know. Such a session cannot be taken to another server.
func (s *session) relay(l *link, asked []byte) (err error) {
	if s.key != nil || s.opened {
		return fmt.Errorf("%w: %s asks for another way to log in than the server before", reach.ErrFinal, l.member.Name())
	}
	defer func() {
		if err != nil && !errors.Is(err, reach.ErrFinal) {
			err = fmt.Errorf("%w: %w", reach.ErrFinal, err) // the client has heard this server's challenge
		}
	}()
	s.track.ties |= tieLogin
	if binary.BigEndian.Uint32(asked) == authSASL { // of the two connections, only one could be bound to
		asked = encode(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{mechanism}})[headSize:]
	}
	if err := s.tell(append(s.start.downgrade(), message('R', asked)...)); err != nil {
		return err
	}
	s.start.minor, s.start.unknown = 0, nil
	for {
		body, err := s.answer()
		if err != nil {
			return err
		}
		_ = l.socket.SetDeadline(time.Now().Add(loginTime))
		if err := l.write(message('p', body)); err != nil {
			return err
		}
		for more := true; more; {
			what, body, err := s.wanted(l)
			if err != nil || what == authOK {
				return err
			}
			if err := s.tell(message('R', body)); err != nil {
				return err
			}
			more = what == authSASLEnd // after which comes AuthenticationOk
		}
	}
}

// relayed says that the client has logged in itself, or is about to.
func (t *tracker) relayed() bool { return t.ties&tieLogin != 0 }
