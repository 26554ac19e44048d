package telemetry

import (
	"encoding/hex"
	"math/rand/v2"
)

// RequestIDSize is the length of a request id in bytes.
const RequestIDSize = 32

// AppendRequestID appends a new request id: 128 random bits as 32 lower-case hexadecimal digits. It takes no lock and
// allocates nothing when dst has room.
func AppendRequestID(dst []byte) []byte {
	var raw [16]byte
	randomInto(raw[:])
	return hex.AppendEncode(dst, raw[:])
}

// randomInto fills b, whose length is a multiple of 8, from the runtime's per-thread ChaCha8.
func randomInto(b []byte) {
	for ; len(b) >= 8; b = b[8:] {
		v := rand.Uint64()
		_ = b[7]
		b[0], b[1], b[2], b[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
		b[4], b[5], b[6], b[7] = byte(v>>32), byte(v>>40), byte(v>>48), byte(v>>56)
	}
}
