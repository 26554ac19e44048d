package httpproxy

import "sync"

// bufferSize holds a head and a small body. Bodies that keep filling it pass through in pieces of largeSize, with fewer system calls.
const (
	bufferSize = 16 << 10
	largeSize  = 128 << 10
)

// Blocks are pooled as array pointers, so that giving one back allocates nothing.
type (
	block      = [bufferSize]byte
	largeBlock = [largeSize]byte
)

// buffers lends blocks to whoever is at work; a connection that waits holds none.
type buffers struct{ pool, large sync.Pool }

func (b *buffers) get() []byte {
	if p, ok := b.pool.Get().(*block); ok {
		return p[:]
	}
	return new(block)[:]
}

// getLarge is get for a body that keeps filling what it is given.
func (b *buffers) getLarge() []byte {
	if p, ok := b.large.Get().(*largeBlock); ok {
		return p[:]
	}
	return new(largeBlock)[:]
}

// put takes a block back. Buffers of other sizes, which big heads needed, are left to the garbage collector.
func (b *buffers) put(p []byte) {
	switch cap(p) {
	case bufferSize:
		b.pool.Put((*block)(p[:bufferSize]))
	case largeSize:
		b.large.Put((*largeBlock)(p[:largeSize]))
	}
}

// widen changes an empty window to a large block.
func (b *buffers) widen(v *window) {
	if v.empty() && len(v.buf) < largeSize {
		b.put(v.buf)
		*v = window{buf: b.getLarge()}
	}
}

// window is a buffer that is filled at its end and used up from its beginning: bytes r to w are there to be used.
type window struct {
	buf  []byte
	r, w int
}

func (v *window) bytes() []byte { return v.buf[v.r:v.w] }
func (v *window) len() int      { return v.w - v.r }
func (v *window) empty() bool   { return v.r == v.w }

// room makes space to read into behind what is there. It returns nil where the buffer is full.
func (v *window) room() []byte {
	if v.r == v.w {
		v.r, v.w = 0, 0
	} else if v.w == len(v.buf) && v.r > 0 {
		v.w = copy(v.buf, v.buf[v.r:v.w])
		v.r = 0
	}
	if v.w == len(v.buf) {
		return nil
	}
	return v.buf[v.w:]
}
