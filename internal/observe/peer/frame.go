package peer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The kinds of frames. After the accepting node's greeting and the dialling one's, the former welcomes or refuses; from
// then on the latter sends messages, each of which is answered by a byte ack.
const (
	kindGreeting = 'G' // magic and the node's name
	kindWelcome  = 'W'
	kindRefusal  = 'R' // why
	kindMessage  = 'M'
	kindUrgent   = 'U' // a message
	kindIdle     = 'I' // nothing was published yet

	ack = 'A'
)

const (
	magic      = "backstay peer 1\n"
	shortFrame = 512      // what nodes say before they know each other
	trusted    = 64 << 10 // a length that is believed before the bytes are there
	headSize   = 5
)

// errGarbage says that the other end does not speak as nodes do.
var errGarbage = errors.New("it does not speak as a node does")

type frame struct {
	kind    byte
	payload []byte
}

// writeFrame writes a frame in one go.
func writeFrame(w io.Writer, kind byte, payload []byte) error {
	buf := make([]byte, headSize, headSize+len(payload))
	buf[0] = kind
	binary.BigEndian.PutUint32(buf[1:], uint32(len(payload))) // at most Limit
	_, err := w.Write(append(buf, payload...))
	return err
}

// readFrame reads a frame with a payload of at most limit bytes. What it allocates stays in proportion to what came.
func readFrame(r io.Reader, limit int) (frame, error) {
	var head [headSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	f, size := frame{kind: head[0]}, int64(binary.BigEndian.Uint32(head[1:]))
	if size > int64(limit) {
		return frame{}, fmt.Errorf("%w: a frame of %d bytes", errGarbage, size)
	}
	if size <= trusted {
		f.payload = make([]byte, size)
		_, err := io.ReadFull(r, f.payload)
		return f, err
	}
	var buf bytes.Buffer
	if _, err := io.CopyN(&buf, r, size); err != nil {
		return frame{}, err
	}
	f.payload = buf.Bytes()
	return f, nil
}

// writeGreeting tells the other end a node's name.
func writeGreeting(w io.Writer, self string) error {
	return writeFrame(w, kindGreeting, []byte(magic+self))
}

// readGreeting returns the name that the other end says is its.
func readGreeting(r io.Reader) (string, error) {
	f, err := readFrame(r, shortFrame)
	if err != nil {
		return "", err
	}
	name, ours := bytes.CutPrefix(f.payload, []byte(magic))
	if f.kind != kindGreeting || !ours || len(name) == 0 {
		return "", errGarbage
	}
	return string(name), nil
}
