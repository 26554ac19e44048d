package http1

import (
	"encoding/binary"
	"math/bits"
)

// What a byte may be part of.
const (
	isToken byte = 1 << iota // field names, methods (RFC 9110, section 5.6.2)
	isLabel                  // host names and IPv4 addresses
	isAddr6                  // what stands between brackets in an IPv6 address
	isDigit
	isHex
)

// class says for each byte what it may be part of.
var class = classify()

func classify() (t [256]byte) {
	mark := func(set string, bit byte) {
		for i := range len(set) {
			t[set[i]] |= bit
		}
	}
	const digits, upper, lower = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
	mark(digits+upper+lower+"!#$%&'*+-.^_`|~", isToken)
	mark(digits+upper+lower+"-._~", isLabel)
	mark(digits+"abcdefABCDEF:.", isAddr6)
	mark(digits, isDigit)
	mark(digits+"abcdefABCDEF", isHex)
	return t
}

// Eight bytes are looked at in one word. Every mask below has the top bit set in the bytes it is about; a byte above the
// lowest one set may be set in error, so that only the lowest counts.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
	folds = 0x2020202020202020
)

// load is the eight bytes of b from i on, the first in the lowest place; zeros stand for those past the end.
func load(b []byte, i int) uint64 {
	if i+8 <= len(b) {
		return binary.LittleEndian.Uint64(b[i:])
	}
	return loadTail(b, i)
}

func loadTail(b []byte, i int) uint64 {
	if i >= len(b) {
		return 0
	}
	if len(b) >= 8 {
		return binary.LittleEndian.Uint64(b[len(b)-8:]) >> (8 * (8 - (len(b) - i)) & 63)
	}
	var x uint64
	for k := len(b) - 1; k >= i; k-- {
		x = x<<8 | uint64(b[k])
	}
	return x
}

// equal finds the bytes of x that are c.
func equal(x uint64, c byte) uint64 {
	y := x ^ ones*uint64(c)
	return (y - ones) &^ y & highs
}

// controls finds the bytes of x that may not stand in a field value: below space (HTAB too: the caller lets it pass) and DEL.
func controls(x uint64) uint64 {
	y := x ^ ones*0x7f
	return ((x-ones*0x20)&^x | (y-ones)&^y) & highs
}

// targetStops finds the bytes of x where the scan of a request target has to look closer: space and below, DEL, all that is
// not ASCII, and the characters that mean something (# % ?).
func targetStops(x uint64) uint64 {
	y := x ^ ones*0x7f
	return ((x-ones*0x21)&^x|(y-ones)&^y|x)&highs | equal(x, '#') | equal(x, '%') | equal(x, '?')
}

// first is the index of the lowest byte of a mask.
func first(mask uint64) int { return bits.TrailingZeros64(mask) >> 3 }

// EqualFold tells whether a and b are equal but for the case of ASCII letters.
func EqualFold[A, B ~string | ~[]byte](a A, b B) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if a[i] != b[i] && fold(a[i]) != fold(b[i]) {
			return false
		}
	}
	return true
}

func fold(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// ValidToken tells whether b may be a field name or a method (RFC 9110, section 5.6.2).
func ValidToken[B ~string | ~[]byte](b B) bool {
	for i := range len(b) {
		if class[b[i]]&isToken == 0 {
			return false
		}
	}
	return len(b) > 0
}

// ValidValue tells whether b may be a field value: no control bytes but HTAB, no white space around it (RFC 9110, section 5.5).
func ValidValue[B ~string | ~[]byte](b B) bool {
	for i := range len(b) {
		if c := b[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return len(b) == 0 || !isSpace(b[0]) && !isSpace(b[len(b)-1])
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// trim takes optional white space (RFC 9110, section 5.6.3) off both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// cutElement takes the first element off a comma-separated list (RFC 9110, section 5.6.1).
func cutElement(list []byte) (element, rest []byte) {
	for i, c := range list {
		if c == ',' {
			return trim(list[:i]), list[i+1:]
		}
	}
	return trim(list), nil
}

// HasToken tells whether the comma-separated list has this token, whatever its case.
func HasToken(list []byte, token string) bool {
	for len(list) > 0 {
		var element []byte
		if element, list = cutElement(list); EqualFold(element, token) {
			return true
		}
	}
	return false
}
