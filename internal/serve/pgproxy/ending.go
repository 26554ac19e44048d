package pgproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/reach"
	"github.com/backstay/backstay/internal/serve/transport"
)

// What clients are told to do.
const (
	againHint = "Connect again; what was not committed has to be run again."
	lookHint  = "Connect again, and look whether it was done before it is run again."
)

// lastOf reads an ErrorResponse that ends the server's side of the session because the server ends; nil for all others. The caller holds the
// mutex.
func (s *session) lastOf(p *part) *pgproto3.ErrorResponse {
	var e pgproto3.ErrorResponse
	if err := e.Decode(p.body); err != nil || e.SeverityUnlocalized != "FATAL" && e.SeverityUnlocalized != "PANIC" {
		return nil
	}
	switch e.Code {
	case codeShutdown, codeCrash, codeNotNow:
		return &e
	}
	s.track.over = true // the client hears it from the server itself
	return nil
}

// lost judges what becomes of a session whose server has gone: what was idle waits for its next request, and everything else ends
// with a word about what is known.
func (s *session) lost(l *link, err error) {
	terminated := s.terminated(l, err)
	s.mu.Lock()
	if s.link == l {
		s.link = nil
	}
	t := &s.track
	idle, ties, work, said := t.idle(), t.ties, !t.unasked(), t.over
	if !idle {
		t.forget()
		t.status = 'I'
	}
	s.account()
	over := s.over
	s.mu.Unlock()
	outcome := pool.Outcome{Result: pool.OK, Took: l.took, Answered: l.counts}
	if !l.counts {
		outcome.Result = pool.Ignored
	}
	l.member.Done(outcome)
	var r *refused
	named := s.service.Name
	told := ""
	if errors.As(err, &r) {
		told = " (" + r.detail.Message + ")"
	}
	switch {
	case over: // and told why
	case said: // by the server, or the client has said goodbye
		s.finish()
	case !l.in.whole():
		s.end(telemetry.EndedCut, "the server has gone in the middle of a long message")
		reach.Reset(s.socket)
	case idle && terminated:
		s.fail(telemetry.EndedCut, r.detail.Code, r.detail.Message, r.detail.Hint)
	case idle && ties == 0:
		s.server.o.Log.Debug("session without a server", "service", named, "member", l.member.Name(), "error", err)
	case idle:
		s.fail(telemetry.EndedCut, codeShutdown, fmt.Sprintf("the primary of %s has changed, and this session was tied to the former one by %s%s", named, ties, told), againHint)
	case !work:
		s.fail(telemetry.EndedCut, codeShutdown, fmt.Sprintf("the primary of %s has gone while a transaction was open%s: it was rolled back", named, told), againHint)
	case r != nil: // what this says of the request is what it says without a proxy
		s.fail(telemetry.EndedCut, r.detail.Code, fmt.Sprintf("the primary of %s has gone while a request was at work%s", named, told), lookHint)
	default:
		s.fail(telemetry.EndedCut, codeUnknown, fmt.Sprintf("the primary of %s has gone while a request was at work: whether it was committed is not known", named), lookHint)
	}
}

// leaveTime is how long a server that ends a session has to show that it ends itself, or is a primary no more.
const leaveTime = time.Second

// terminated says whether it is this session alone that its server has ended, as pg_terminate_backend does: it says the same when it
// is stopped. So this waits for a moment whether the member goes away, with its clients held or without; what the client asks for
// meanwhile waits too. The caller holds l.writing.
func (s *session) terminated(l *link, err error) bool {
	var r *refused
	if !errors.As(err, &r) || r.detail.Code != codeShutdown {
		return false
	}
	over := time.After(leaveTime)
	look := time.NewTicker(leaveTime / 20)
	defer look.Stop()
	for !s.service.Pool.Frozen() {
		select {
		case <-l.gone:
			return false
		case <-over:
			return true
		case <-look.C:
		}
		c, err := net.DialTimeout("tcp", l.socket.RemoteAddr().String(), leaveTime/4)
		if err != nil {
			return false
		}
		_ = c.Close()
	}
	return false
}

// failTime is how long a client has to hear why its session ends.
const failTime = 2 * time.Second

// fail tells the client the last that it hears. A server that it still has is let go.
func (s *session) fail(how telemetry.Ending, code, text, hint string) {
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return
	}
	s.over = true
	l := s.link
	s.mu.Unlock()
	s.end(how, text)
	_ = s.socket.SetDeadline(time.Now().Add(failTime)) // for all that is still said and heard
	if l != nil {                                      // nothing comes from it between our words
		reach.Reset(l.socket)
		<-l.done
	}
	_, _ = s.client.Write(encode(fatal(code, text, hint)))
	s.halfClose()
}

// finish ends a session of which all is said.
func (s *session) finish() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.end(telemetry.EndedOK, "")
	_ = s.socket.SetDeadline(time.Now().Add(failTime))
	s.halfClose()
}

func (s *session) halfClose() {
	if c, ok := s.client.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite() // it may be gone
	}
}

// lastWord tells the client why there is no server for its request.
func (s *session) lastWord(err error) {
	var r *refused
	switch {
	case errors.Is(err, errOver):
	case errors.As(err, &r) && errors.Is(err, reach.ErrFinal):
		s.fail(telemetry.EndedCut, r.detail.Code, r.detail.Message, r.detail.Hint)
	case errors.Is(err, context.Canceled):
		s.fail(telemetry.EndedCut, codeShutdown, "this node of Backstay is shutting down", againHint)
	default:
		s.fail(telemetry.EndedNone, codeNotNow, fmt.Sprintf("there is no primary of %s to be reached: %v", s.service.Name, err), againHint)
	}
}

// linger lets the client read its last message: what it still sends would otherwise take it away.
func (s *session) linger() {
	_ = s.socket.SetDeadline(time.Now().Add(failTime))
	_, _ = io.Copy(io.Discard, io.LimitReader(s.client, 16<<20)) // until the deadline at the latest
}

// clientEnded is where the client says no more.
func (s *session) clientEnded(err error) {
	s.mu.Lock()
	l, over := s.link, s.over
	s.mu.Unlock()
	switch {
	case over:
		return
	case !errors.Is(err, io.EOF):
		s.end(telemetry.EndedReset, "client: "+transport.Reason(err))
	case l != nil: // the answers to what it has sent still go to it
		s.end(telemetry.EndedOK, "")
		if c, ok := l.conn.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
			<-l.done
			return
		}
	}
	s.end(telemetry.EndedOK, "")
	if l != nil {
		reach.Reset(l.socket)
		<-l.done
	}
}

// part lets go of what a session still has.
func (s *session) part() {
	s.mu.Lock()
	s.over = true
	l := s.link
	s.mu.Unlock()
	if l != nil {
		reach.Reset(l.socket)
		<-l.done
	}
	s.mu.Lock()
	if s.busy {
		s.busy = false
		s.service.Pool.EndWork()
	}
	s.mu.Unlock()
}
