package pgproxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/reach"
)

var errOver = errors.New("the session is over")

// obtain returns the server that the session has; without one, another is found and told what the session needs.
func (s *session) obtain(ctx context.Context) (*link, error) {
	s.mu.Lock()
	l, over := s.link, s.over
	s.mu.Unlock()
	switch {
	case over:
		return nil, errOver
	case l != nil:
		return l, nil
	}
	l, err := s.attach(ctx)
	if err != nil {
		return nil, err
	}
	if !s.begin(l) {
		reach.Reset(l.socket)
		l.member.Done(pool.Outcome{Result: pool.Ignored})
		return nil, errOver
	}
	s.service.Metrics.Count(telemetry.SessionMoved)
	return l, nil
}

// attach logs the session in to a primary, and brings it to where the session was. It waits for one while there is none.
func (s *session) attach(ctx context.Context) (*link, error) {
	var l *link
	_, err := s.search.Member(ctx, func(ctx context.Context, m *pool.Member) (err error) {
		if l, err = s.login(ctx, m); err != nil || !s.opened {
			return err
		}
		stop := context.AfterFunc(ctx, func() { reach.Reset(l.socket) })
		_ = l.socket.SetDeadline(time.Now().Add(loginTime)) // fails only on a closed connection
		if err = s.restore(l); err == nil {
			err = broken(l.socket.SetDeadline(time.Time{}))
		}
		if !stop() && err == nil {
			err = broken(context.Cause(ctx))
		}
		if err != nil {
			reach.Reset(l.socket)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	l.took = s.search.Took
	return l, nil
}

// settable are the parameters that servers tell of by themselves, and that a session may set.
var settable = []string{
	"application_name", "client_encoding", "DateStyle", "IntervalStyle", "TimeZone", "search_path", "standard_conforming_strings",
	"default_transaction_read_only",
}

// restore says to a new server what was said to the former one: settings, then prepared statements.
func (s *session) restore(l *link) error {
	t := &s.track // nobody else has it while there is no server
	var say []byte
	for _, one := range t.settings.kept {
		say = append(say, encode(&pgproto3.Query{String: one.text})...)
	}
	failed, err := s.say(l, say, len(t.settings.kept))
	if err == nil && len(failed) > 0 {
		err = failed[0].final(t.settings.kept[failed[0].at].text)
	}
	if err != nil {
		return err
	}
	if err := s.compare(l); err != nil {
		return err
	}
	say = nil
	names := make([]string, 0, len(t.statements))
	for name, msg := range t.statements {
		names = append(names, name)
		say = append(append(say, msg...), syncMessage...)
	}
	asked := len(names)
	if len(t.unnamed) > 0 { // last: nothing may be said after it
		say = append(append(say, t.unnamed...), syncMessage...)
		asked++
	}
	failed, err = s.say(l, say, asked)
	for _, f := range failed { // such as for a table that is gone: its next use fails, as it should
		if f.at < len(names) {
			t.deallocate(names[f.at])
		}
	}
	return err
}

var syncMessage = encode(&pgproto3.Sync{})

// compare brings the parameters that the client knows of to their values, as far as a session can, and tells it of the others.
func (s *session) compare(l *link) error {
	var say, news []byte
	asked := 0
	for name, had := range s.track.parameters {
		has := l.parameters[name]
		switch {
		case has == had:
		case slices.Contains(settable, name):
			text := fmt.Sprintf("SELECT pg_catalog.set_config(%s, %s, false)", literal(name), literal(had))
			say = append(say, encode(&pgproto3.Query{String: text})...)
			asked++
		default:
			news = append(news, encode(&pgproto3.ParameterStatus{Name: name, Value: has})...)
		}
	}
	if _, err := s.say(l, say, asked); err != nil {
		return err
	}
	if len(news) == 0 {
		return nil
	}
	if err := s.tellFinally(news); err != nil {
		return fmt.Errorf("%w: client: %w", reach.ErrFinal, err)
	}
	return nil
}

func literal(s string) string {
	quoted := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return " E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}

// failure is something said that the server did not like.
type failure struct {
	at  int
	err pgproto3.ErrorResponse
}

func (f failure) final(what string) error {
	e := fatal(f.err.Code, fmt.Sprintf("the session could not be set up again after a change of the primary: %s: %s", what, f.err.Message), againHint)
	return fmt.Errorf("%w: %w", reach.ErrFinal, &refused{raw: encode(e), detail: *e})
}

// say sends requests and waits for as many ReadyForQuery.
func (s *session) say(l *link, requests []byte, asked int) (failed []failure, err error) {
	if asked == 0 {
		return nil, nil
	}
	if err := l.write(requests); err != nil {
		return nil, err
	}
	for at := 0; at < asked; {
		p, err := l.next()
		if err != nil {
			return nil, err
		}
		switch p.kind {
		case 'E':
			f := failure{at: at}
			if err := f.err.Decode(p.body); err != nil {
				return nil, errors.Join(reach.ErrFinal, err)
			}
			if f.err.SeverityUnlocalized == "FATAL" {
				return nil, s.turnedAway(p.body)
			}
			failed = append(failed, f)
		case 'S':
			name := cstring(p.body)
			if rest := p.body[len(name):]; len(rest) > 1 {
				l.parameters[string(name)] = string(cstring(rest[1:]))
			}
		case 'Z':
			at++
		}
	}
	return failed, nil
}
