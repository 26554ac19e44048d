package telemetry

import "strconv"

// The label code is one of a fixed set: the status codes of the IANA registry, 499 for a client that left before its
// answer, and 2xx, 4xx and so on for every other code of that hundred. Whatever a member answers, a route has at most
// codeSlots series.
var knownCodes = [...]int{
	100, 101, 102, 103,
	200, 201, 202, 203, 204, 205, 206, 207, 208, 226,
	300, 301, 302, 303, 304, 305, 307, 308,
	400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 423, 424,
	425, 426, 428, 429, 431, 451, 499,
	500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
}

const (
	codeClasses = 6 // other, 1xx … 5xx; their slots come after those of the known codes
	codeSlots   = len(knownCodes) + codeClasses
)

// slotOf maps a status below 600 to its slot.
var slotOf = func() (t [600]uint8) {
	for s := range t {
		t[s] = uint8(len(knownCodes) + s/100)
	}
	for i, c := range knownCodes {
		t[c] = uint8(i)
	}
	return t
}()

// codeSlot is the place of a status in a route's counters; what is no status at all has its own.
func codeSlot(status int) int {
	if uint(status) >= uint(len(slotOf)) {
		return len(knownCodes)
	}
	return int(slotOf[status])
}

// codeNames are the values of the label code by slot.
var codeNames = func() (n [codeSlots]string) {
	n[len(knownCodes)] = "other"
	for c := 1; c < codeClasses; c++ {
		n[len(knownCodes)+c] = strconv.Itoa(c) + "xx"
	}
	for i, c := range knownCodes {
		n[i] = strconv.Itoa(c)
	}
	return n
}()
