package pgproxy

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/reach"
	"github.com/backstay/backstay/internal/serve/transport"
)

// begin puts a session to work on a server. It says false where the session is over.
func (s *session) begin(l *link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	s.link, s.begun = l, true
	s.track.reset(l.parameters)
	s.ending.member = l.member.Name()
	go s.guard(l)
	go s.down(l)
	return true
}

// guard cuts the server off when it is no primary any more.
func (s *session) guard(l *link) {
	select {
	case <-l.gone:
		reach.Reset(l.socket)
	case <-l.done:
	}
}

// up carries the client's requests to whatever server the session has, until the client has gone or was told its last.
func (s *session) up(ctx context.Context) {
	from := stream{conn: s.client}
	for {
		p, ok, err := from.peek()
		switch {
		case err != nil:
			s.fail(telemetry.EndedReset, codeProtocol, err.Error(), "")
			s.linger()
			return
		case !ok:
			if err := from.fill(); err != nil {
				s.clientEnded(err)
				return
			}
			s.pulse.Add(1)
			continue
		case p.kind == 'X' && p.first && s.detached():
			s.finish() // nobody has to hear it
			return
		}
		if err := s.forward(ctx, &from); err != nil {
			s.lastWord(err)
			s.linger()
			return
		}
	}
}

// detached says whether the session has no server.
func (s *session) detached() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link == nil
}

// forward sends on what the client has sent, as far as it may be now. It waits for a server, and while the service lets new work wait.
func (s *session) forward(ctx context.Context, from *stream) error {
	l, err := s.obtain(ctx)
	if err != nil {
		return err
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	s.mu.Lock()
	if s.over || s.link != l {
		s.mu.Unlock()
		return nil // look again
	}
	select {
	case <-l.gone: // nothing goes there any more, whether or not it was cut yet
		s.mu.Unlock()
		s.cut(l)
		return nil
	default:
	}
	begun, fresh := from.mark, s.track.idle()
	if fresh && !s.service.Pool.BeginWork() || !fresh && s.between() {
		changed := s.watch()
		s.mu.Unlock()
		l.writing.Unlock()
		err := s.await(ctx, fresh, changed)
		l.writing.Lock()
		return err
	}
	s.busy = true
	frozen := s.service.Pool.Frozen()
	for {
		p, ok, err := from.peek()
		if err != nil || !ok {
			break // an error is found again
		}
		from.pass(&p)
		if s.track.client(&p) && frozen {
			break // what comes after it may have to wait
		}
	}
	s.account()
	s.mu.Unlock()
	sent := from.buf[begun.at:from.at]
	n, err := l.conn.Write(sent)
	s.in.Add(int64(n))
	if err == nil {
		return nil
	}
	if n == 0 && fresh { // it did not get anywhere: another server may have it
		s.mu.Lock()
		s.track.forget()
		s.account()
		from.mark = begun
		s.mu.Unlock()
	}
	s.cut(l)
	return nil
}

// cut ends what a session has on a server, and waits until it is judged what became of the session. The caller holds l.writing.
func (s *session) cut(l *link) {
	reach.Reset(l.socket)
	l.writing.Unlock()
	<-l.done
	l.writing.Lock()
}

// between says whether what comes next can wait until the server has answered what it has. The caller holds the mutex.
func (s *session) between() bool {
	t := &s.track
	return s.service.Pool.Frozen() && t.work > 0 && !t.open && !t.copies && !t.torn
}

// await waits until new work may begin again, or something has changed.
func (s *session) await(ctx context.Context, fresh bool, changed <-chan struct{}) error {
	if fresh {
		t := time.Now()
		err := s.service.Pool.Hold(ctx, minBuffer)
		s.search.Waited += time.Since(t)
		return err
	}
	t := time.NewTimer(time.Second) // whether it is frozen still
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// account keeps the count of work at the service in step with the session. The caller holds the mutex.
func (s *session) account() {
	if s.busy && s.track.idle() {
		s.busy = false
		s.service.Pool.EndWork()
	}
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// watch returns a channel that is closed when the session has sent or was answered something. The caller holds the mutex.
func (s *session) watch() <-chan struct{} {
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// down carries a server's answers to the client, until the server has gone.
func (s *session) down(l *link) {
	err := s.carry(l)
	reach.Reset(l.socket)
	l.writing.Lock() // what is being written has failed now, and has said so
	s.lost(l, err)
	l.writing.Unlock()
	close(l.done)
}

// carry ends with the server's connection, or what it said last.
func (s *session) carry(l *link) error {
	for {
		begun := l.in.at
		s.mu.Lock()
		var last *pgproto3.ErrorResponse
		served := false
		for {
			p, ok, err := l.in.peek()
			if err != nil {
				s.mu.Unlock()
				return err
			}
			if !ok {
				break
			}
			if p.kind == 'E' && p.first && p.last {
				if last = s.lastOf(&p); last != nil {
					break
				}
			}
			l.in.pass(&p)
			s.track.server(&p)
			served = served || p.kind == 'Z'
		}
		if served {
			s.account()
		}
		s.mu.Unlock()
		if ready := l.in.buf[begun:l.in.at]; len(ready) > 0 {
			n, err := s.client.Write(ready)
			s.out.Add(int64(n))
			s.pulse.Add(1)
			if err != nil {
				s.end(telemetry.EndedReset, "client: "+transport.Reason(err))
				reach.Reset(s.socket)
				return err
			}
			if !l.counts {
				l.counts = true
				l.member.Answered(l.took)
			}
		}
		if last != nil {
			return &refused{detail: *last}
		}
		if err := l.in.fill(); err != nil {
			return err
		}
	}
}
