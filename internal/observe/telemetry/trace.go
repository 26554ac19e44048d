package telemetry

// TraceID is W3C Trace Context's trace-id; all zeros is none.
type TraceID [16]byte

// SpanID is W3C Trace Context's parent-id; all zeros is none.
type SpanID [8]byte

// Trace is what a traceparent header says: which trace, which span is the parent of what follows, and whether it is
// recorded. The zero value is none.
type Trace struct {
	ID    TraceID
	Span  SpanID
	Flags byte
}

const (
	flagSampled = 1
	flagRandom  = 2 // level 2: the low half of the trace id is random
	knownFlags  = flagSampled | flagRandom
	// TraceparentSize is the length of a traceparent header of version 00.
	TraceparentSize = 55
	hexDigits       = "0123456789abcdef"
)

// ParseTraceparent reads a traceparent header (W3C Trace Context level 1, section 3.2). It says false for whatever
// must be ignored: malformed, upper case, all-zero ids, version ff. Higher versions are read as far as they are known.
func ParseTraceparent(h []byte) (t Trace, ok bool) {
	if len(h) < TraceparentSize || h[2] != '-' || h[35] != '-' || h[52] != '-' {
		return Trace{}, false
	}
	version, ok := hexByte(h[0], h[1])
	if !ok || version == 0xff || version == 0 && len(h) != TraceparentSize ||
		len(h) > TraceparentSize && h[TraceparentSize] != '-' {
		return Trace{}, false
	}
	flags, okFlags := hexByte(h[53], h[54])
	if !okFlags || !hexInto(t.ID[:], h[3:35]) || !hexInto(t.Span[:], h[36:52]) || t.ID == (TraceID{}) || t.Span == (SpanID{}) {
		return Trace{}, false
	}
	t.Flags = flags & knownFlags
	return t, true
}

// NewTrace begins a trace with random ids.
func NewTrace(sampled bool) (t Trace) {
	for t.ID == (TraceID{}) {
		randomInto(t.ID[:])
	}
	t.Flags = flagRandom
	if sampled {
		t.Flags |= flagSampled
	}
	return t.Child()
}

// Child is the same trace with a new span.
func (t Trace) Child() Trace {
	t.Span = SpanID{}
	for t.Span == (SpanID{}) {
		randomInto(t.Span[:])
	}
	return t
}

// IsZero says that there is no trace: no header is sent.
func (t Trace) IsZero() bool { return t.ID == (TraceID{}) }

// Sampled says whether the caller records the trace.
func (t Trace) Sampled() bool { return t.Flags&flagSampled != 0 }

// AppendTraceparent appends the value of the traceparent header, TraceparentSize bytes.
func (t Trace) AppendTraceparent(dst []byte) []byte {
	dst = append(dst, '0', '0', '-')
	dst = appendHex(dst, t.ID[:])
	dst = append(dst, '-')
	dst = appendHex(dst, t.Span[:])
	return append(dst, '-', '0', '0'+t.Flags&knownFlags)
}

func appendHex(dst, src []byte) []byte {
	for _, c := range src {
		dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
	}
	return dst
}

// hexInto decodes lower-case hexadecimal digits; src is twice as long as dst.
func hexInto(dst, src []byte) bool {
	for i := range dst {
		c, ok := hexByte(src[2*i], src[2*i+1])
		if !ok {
			return false
		}
		dst[i] = c
	}
	return true
}

func hexByte(hi, lo byte) (byte, bool) {
	a, okA := hexDigit(hi)
	b, okB := hexDigit(lo)
	return a<<4 | b, okA && okB
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}
