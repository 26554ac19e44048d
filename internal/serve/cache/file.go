package cache

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/serve/http1"
)

// A file has one entry: the magic, a header with its own checksum, the head, the body, and a checksum of both.
//
//	magic [8]byte | header length uint32 | header | CRC-32C of header uint32 | head | body | CRC-32C of head and body uint32
//
// The header is a row of strings and numbers, each with its length ahead or as a varint: key, hidden, selectors, times, Age, status, lengths.
const fileMagic = "bscache1"

// mostHeader bounds what is read of a header.
const mostHeader = 256 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errFile = errors.New("the file is damaged or no cache file")

// header is what a file says of its entry.
type header struct {
	key, hidden         string
	by                  []selector
	requested, received time.Time
	ageValue            time.Duration
	status              int
	head, body          int64 // lengths
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// appendHeader appends all that stands ahead of an entry's head.
func appendHeader(dst []byte, e *Entry) []byte {
	dst = append(dst, fileMagic...)
	dst = append(dst, 0, 0, 0, 0)
	from := len(dst)
	dst = appendString(appendString(dst, e.key), e.hidden)
	dst = binary.AppendUvarint(dst, uint64(len(e.by)))
	for i := range e.by {
		dst = appendString(appendString(dst, e.by[i].name), e.by[i].value)
	}
	dst = binary.AppendVarint(dst, e.requested.UnixNano())
	dst = binary.AppendVarint(dst, e.received.UnixNano())
	dst = binary.AppendVarint(dst, int64(e.ageValue))
	dst = binary.AppendUvarint(dst, uint64(e.Status))
	dst = binary.AppendUvarint(dst, uint64(len(e.head)))
	dst = binary.AppendUvarint(dst, uint64(e.size))
	binary.LittleEndian.PutUint32(dst[from-4:], uint32(len(dst)-from))
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[from:], castagnoli))
}

// headerLength reads the beginning of a file: how long the part with the header is, from the first byte on.
func headerLength(b []byte) (int, error) {
	if len(b) < len(fileMagic)+4 || string(b[:len(fileMagic)]) != fileMagic {
		return 0, errFile
	}
	n := binary.LittleEndian.Uint32(b[len(fileMagic):])
	if n > mostHeader {
		return 0, errFile
	}
	return len(fileMagic) + 4 + int(n) + 4, nil
}

// parseHeader reads the header of a file.
func parseHeader(b []byte) (h header, err error) {
	n, err := headerLength(b)
	if err != nil || len(b) < n {
		return h, errFile
	}
	p := b[len(fileMagic)+4 : n-4]
	if crc32.Checksum(p, castagnoli) != binary.LittleEndian.Uint32(b[n-4:]) {
		return h, errFile
	}
	r := reader{p: p}
	h.key, h.hidden = r.string(), r.string()
	for k := r.number(); k > 0 && !r.bad; k-- {
		h.by = append(h.by, selector{r.string(), r.string()})
	}
	h.requested, h.received = time.Unix(0, r.signed()), time.Unix(0, r.signed())
	h.ageValue = time.Duration(r.signed())
	h.status = int(r.number())
	h.head, h.body = int64(r.number()), int64(r.number())
	if r.bad || len(r.p) > 0 || h.head < 0 || h.body < 0 || h.status < 200 || h.status > 999 {
		return h, errFile
	}
	return h, nil
}

// reader takes values off a header.
type reader struct {
	p   []byte
	bad bool
}

func (r *reader) number() uint64 {
	v, n := binary.Uvarint(r.p)
	return v * r.took(n)
}

func (r *reader) signed() int64 {
	v, n := binary.Varint(r.p)
	return v * int64(r.took(n))
}

// took passes over n bytes and is 1, or 0 where they are bad.
func (r *reader) took(n int) uint64 {
	if n <= 0 {
		r.bad, r.p = true, nil
		return 0
	}
	r.p = r.p[n:]
	return 1
}

func (r *reader) string() string {
	n := r.number()
	if n > uint64(len(r.p)) {
		r.bad, r.p = true, nil
		return ""
	}
	s := string(r.p[:n])
	r.p = r.p[n:]
	return s
}

// encode gives a file's parts, in order.
func encode(e *Entry) [][]byte {
	parts := append([][]byte{appendHeader(nil, e), e.head}, e.body...)
	sum := uint32(0)
	for _, p := range parts[1:] {
		sum = crc32.Update(sum, castagnoli, p)
	}
	return append(parts, binary.LittleEndian.AppendUint32(nil, sum))
}

// decode makes an entry of a whole file. Its head is parsed again, so that age and lifetime follow from what was sent.
func decode(b []byte, o *Options, now time.Time) (*Entry, error) {
	h, err := parseHeader(b)
	if err != nil {
		return nil, err
	}
	n, _ := headerLength(b)
	rest := b[n:]
	if h.head > int64(len(rest)) || h.body != int64(len(rest))-h.head-4 {
		return nil, errFile
	}
	end := h.head + h.body
	if crc32.Checksum(rest[:end], castagnoli) != binary.LittleEndian.Uint32(rest[end:]) {
		return nil, errFile
	}
	if h.received.After(now.Add(time.Minute)) {
		return nil, errFile // from a time that has not come: nothing can be said of its age
	}
	e := &Entry{key: h.key, hidden: h.hidden, by: h.by, Status: h.status, ageValue: h.ageValue, size: h.body, head: rest[:h.head:h.head]}
	if h.body > 0 {
		e.body = [][]byte{rest[h.head:end:end]}
	}
	var res http1.Response
	if k, err := res.Parse(append(e.head[:h.head:h.head], '\r', '\n'), storedLimits, http1.HEAD); err != nil || k == 0 {
		return nil, errFile
	}
	says := ParseDirectives(res.Fields)
	e.measure(res.Fields, &says, clock{h.requested, h.received}, guess(o, &res, strings.Contains(h.key, "?")))
	e.weigh()
	return e, nil
}
