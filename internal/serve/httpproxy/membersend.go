package httpproxy

import (
	"net"

	"github.com/backstay/backstay/internal/serve/http1"
)

// Send implements stream. Where the whole request is at hand it is written together with the first read: see roundTrip.
func (m *memberConn) Send(a *ask, first piece) error {
	m.verb = a.Request.Verb
	m.chunked = a.Request.Length == http1.ChunkedBody
	m.out = appendAsk(m.out[:0], a)
	if len(first.Data) > bufferSize/2 {
		if _, err := m.write(m.out); err != nil {
			return m.fail(err)
		}
		m.out = m.out[:0]
		return m.wrap(m.Write(first))
	}
	m.out = m.appendPiece(m.out, first)
	m.allSent = first.End
	if first.End && m.raw != nil && m.rw == net.Conn(&m.link) {
		m.pending = m.out
		return nil
	}
	_, err := m.write(m.out)
	return m.wrap(err)
}

func (m *memberConn) appendPiece(dst []byte, p piece) []byte {
	if !m.chunked {
		return append(dst, p.Data...)
	}
	if len(p.Data) > 0 {
		dst = http1.AppendChunkHead(dst, len(p.Data))
		dst = append(append(dst, p.Data...), '\r', '\n')
	}
	if p.End {
		dst = appendLastChunk(dst, p.Trailers)
	}
	return dst
}

// Write implements stream.
func (m *memberConn) Write(p piece) error {
	if !m.chunked {
		if len(p.Data) > 0 {
			if _, err := m.rw.Write(p.Data); err != nil {
				return err
			}
		}
		m.allSent = p.End
		return nil
	}
	b := m.buffers.get()
	defer m.buffers.put(b)
	head := b[:0]
	if len(p.Data) > 0 {
		head = http1.AppendChunkHead(head, len(p.Data))
	}
	n := len(head)
	if len(p.Data) > 0 {
		head = append(head, '\r', '\n')
	}
	if p.End {
		head = appendLastChunk(head, p.Trailers)
	}
	var err error
	if m.rw == net.Conn(&m.link) {
		err = m.writeBuffers(&net.Buffers{head[:n], p.Data, head[n:]})
	} else {
		for _, part := range [][]byte{head[:n], p.Data, head[n:]} {
			if _, err = m.rw.Write(part); err != nil {
				break
			}
		}
	}
	m.allSent = err == nil && p.End
	return err
}

func (m *memberConn) write(p []byte) (int, error) {
	if m.base != nil {
		m.sent++ // TLS does not tell how much of a record that failed left all the same
	}
	n, err := m.rw.Write(p)
	m.sent += int64(n)
	return n, err
}
