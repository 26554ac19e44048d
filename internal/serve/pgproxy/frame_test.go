package pgproxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// parts reads all messages of a stream: kinds and sizes, and the bytes as they would be passed on.
func parts(t testing.TB, r io.Reader) (kinds []byte, sizes []int, passed []byte, err error) {
	s := stream{conn: r}
	for {
		p, ok, err := s.peek()
		if err != nil {
			return kinds, sizes, passed, err
		}
		if !ok {
			if err := s.fill(); err != nil {
				if errors.Is(err, io.EOF) && s.left == 0 && s.at == s.end {
					return kinds, sizes, passed, nil
				}
				return kinds, sizes, passed, err
			}
			if len(s.buf) > maxBuffer {
				t.Fatalf("a buffer of %d bytes", len(s.buf))
			}
			continue
		}
		if p.first {
			kinds, sizes = append(kinds, p.kind), append(sizes, 0)
		}
		sizes[len(sizes)-1] += len(p.body)
		s.pass(&p)
		passed = append(passed, p.raw...)
		if p.last != s.whole() {
			t.Fatalf("last %v, but %d bytes are left", p.last, s.left)
		}
	}
}

func TestFramesHoweverTheyCome(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var all, kinds []byte
	var sizes []int
	for range 300 {
		size := r.IntN(50)
		switch r.IntN(10) {
		case 0:
			size = r.IntN(maxBuffer)
		case 1:
			size = maxBuffer - headSize - 1 + r.IntN(3)
		case 2:
			size = r.IntN(5 * maxBuffer)
		}
		kind := byte('A' + r.IntN(26))
		kinds, sizes = append(kinds, kind), append(sizes, size)
		all = append(all, message(kind, bytes.Repeat([]byte{byte(size)}, size))...)
	}
	for name, reader := range map[string]io.Reader{
		"at once": bytes.NewReader(all), "byte by byte": iotest.OneByteReader(bytes.NewReader(all)), "by halves": iotest.HalfReader(bytes.NewReader(all)),
		"with its end": iotest.DataErrReader(bytes.NewReader(all)),
	} {
		k, s, passed, err := parts(t, reader)
		if err != nil || !bytes.Equal(k, kinds) || !bytes.Equal(passed, all) {
			t.Fatalf("%s: %v, %d messages of %d", name, err, len(k), len(kinds))
		}
		for i := range s {
			if s[i] != sizes[i] {
				t.Fatalf("%s: message %d has %d bytes, not %d", name, i, s[i], sizes[i])
			}
		}
	}
}

func TestFrameRefusesLengthsThatCannotBe(t *testing.T) {
	for _, size := range []uint32{0, 3, 1 << 30, 1 << 31, 0xffffffff} {
		b := binary.BigEndian.AppendUint32([]byte{'Q'}, size)
		if _, _, _, err := parts(t, bytes.NewReader(append(b, make([]byte, 10)...))); err == nil {
			t.Errorf("%d is taken", size)
		}
	}
}

// FuzzFrame: what is passed on is what came, whatever that is and however it is cut; and a session that is fed it has no more to
// say than that.
func FuzzFrame(f *testing.F) {
	f.Add(append(message('Q', []byte("SELECT 1\x00")), message('S', nil)...), 3)
	f.Add(append(message('P', []byte("s\x00SET x TO 'y'\x00\x00\x00")), message('X', nil)...), 1)
	f.Add(message('C', []byte("S")), 1)
	f.Add(append(message('Z', []byte("I")), message('E', []byte("SFATAL\x00"))...), 7)
	f.Fuzz(func(t *testing.T, all []byte, cut int) {
		_, _, passed, err := parts(t, &cutter{all, max(cut, 1)})
		if !bytes.HasPrefix(all, passed) {
			t.Fatalf("%q is not how %q begins", passed, all)
		}
		if err == nil && len(passed) != len(all) {
			t.Fatalf("%d bytes of %d", len(passed), len(all))
		}
		up, down := tracker{status: 'I', parameters: map[string]string{}}, stream{conn: &cutter{all, max(cut, 1)}}
		for {
			p, ok, err := down.peek()
			if err != nil {
				return
			}
			if !ok {
				if down.fill() != nil {
					return
				}
				continue
			}
			down.pass(&p)
			up.client(&p)
			up.server(&p)
			if up.work < 0 || up.head > len(up.queue) || up.kept < 0 {
				t.Fatalf("work %d, head %d of %d, %d bytes", up.work, up.head, len(up.queue), up.kept)
			}
		}
	})
}

type cutter struct {
	left []byte
	n    int
}

func (c *cutter) Read(b []byte) (int, error) {
	if len(c.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.left[:min(c.n, len(c.left))])
	c.left = c.left[n:]
	return n, nil
}
