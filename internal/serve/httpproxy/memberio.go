package httpproxy

import (
	"errors"
	"io"
	"syscall"
)

// fill reads; what is still to be written goes first.
func (m *memberConn) fill(p []byte) (int, error) {
	if m.pending != nil {
		return m.roundTrip(p)
	}
	return m.rw.Read(p)
}

// roundTrip writes the request and reads the beginning of the answer. Both are done within one RawConn.Read, whose
// readiness is cleared before the request leaves: so the answer's arrival cannot be missed, and the read that
// would find nothing yet, which Conn.Read begins with, is saved.
func (m *memberConn) roundTrip(p []byte) (int, error) {
	m.into, m.stepN, m.stepOK, m.wrote = p, 0, nil, false
	for {
		err := m.raw.Read(m.step)
		if err == nil {
			break
		}
		if err, up := m.expired(err); up {
			m.into = nil
			return 0, err
		}
	}
	m.into = nil
	if errors.Is(m.stepOK, errPartial) {
		m.wrote = true
		rest := m.pending
		m.pending = nil
		if _, err := m.write(rest); err != nil {
			return 0, err
		}
		return m.rw.Read(p)
	}
	m.pending = nil
	return m.stepN, m.stepOK
}

// errPartial says that the socket did not take the whole request at once.
var errPartial = errors.New("partly written")

func (m *memberConn) roundTripStep(fd uintptr) bool {
	if !m.wrote {
		n, err := sendSocket(int(fd), m.pending)
		if n > 0 {
			m.sent += int64(n)
			m.pending = m.pending[n:]
		}
		switch {
		case err == nil && len(m.pending) == 0:
			m.wrote = true
			return false
		case err == nil || err == syscall.EAGAIN || err == syscall.EINTR:
			m.stepOK = errPartial
		default:
			m.stepOK = err
		}
		return true
	}
	n, wait, err := readSocket(fd, m.into)
	if wait {
		return false
	}
	m.stepN, m.stepOK = n, err
	return true
}

// readSocket is read(2) with the end of the stream as io.EOF. wait says that nothing is there yet.
func readSocket(fd uintptr, p []byte) (n int, wait bool, err error) {
	for {
		n, err = recvSocket(int(fd), p)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, true, nil
		case err != nil:
			return 0, false, err
		case n == 0:
			return 0, false, io.EOF
		}
		return n, false, nil
	}
}
