package http1

import "math/bits"

// ID is a well-known field name, found while parsing, so that nobody has to compare names again.
type ID uint8

// The field names that are told apart. Everything else is Unknown.
const (
	Unknown ID = iota
	Host
	ContentLength
	TransferEncoding
	Connection
	Expect
	Upgrade
	TE
	KeepAlive
	ProxyConnection
	ProxyAuthenticate
	ProxyAuthorization
	HTTP2Settings
	Trailer
	MaxForwards
	Forwarded
	XForwardedFor
	XForwardedProto
	XForwardedHost
	XForwardedPort
	XRealIP
	XRequestID
	Traceparent
	Tracestate
	Via
	Cookie
	SetCookie
	Authorization
	WWWAuthenticate
	IdempotencyKey
	UserAgent
	Accept
	AcceptEncoding
	AcceptLanguage
	AcceptRanges
	Referer
	Origin
	Range
	IfMatch
	IfNoneMatch
	IfModifiedSince
	IfUnmodifiedSince
	CacheControl
	ContentType
	ContentEncoding
	ContentRange
	ContentLanguage
	Date
	Server
	ETag
	LastModified
	Expires
	Age
	Vary
	Location
	RetryAfter
	Pragma
	UpgradeInsecureRequests
	SecFetchSite
	SecFetchMode
	SecFetchDest
	SecFetchUser
	Priority
	lastID
)

// Set is a set of well-known names.
type Set uint64

// SetOf is the set of these names.
func SetOf(ids ...ID) Set {
	var s Set
	for _, id := range ids {
		s |= 1 << id
	}
	return s
}

// Has tells whether id is in the set.
func (s Set) Has(id ID) bool { return s>>id&1 != 0 }

// spelling is each name as it is usually written.
var spelling = [lastID]string{
	Host:                    "Host",
	ContentLength:           "Content-Length",
	TransferEncoding:        "Transfer-Encoding",
	Connection:              "Connection",
	Expect:                  "Expect",
	Upgrade:                 "Upgrade",
	TE:                      "TE",
	KeepAlive:               "Keep-Alive",
	ProxyConnection:         "Proxy-Connection",
	ProxyAuthenticate:       "Proxy-Authenticate",
	ProxyAuthorization:      "Proxy-Authorization",
	HTTP2Settings:           "HTTP2-Settings",
	Trailer:                 "Trailer",
	MaxForwards:             "Max-Forwards",
	Forwarded:               "Forwarded",
	XForwardedFor:           "X-Forwarded-For",
	XForwardedProto:         "X-Forwarded-Proto",
	XForwardedHost:          "X-Forwarded-Host",
	XForwardedPort:          "X-Forwarded-Port",
	XRealIP:                 "X-Real-IP",
	XRequestID:              "X-Request-Id",
	Traceparent:             "Traceparent",
	Tracestate:              "Tracestate",
	Via:                     "Via",
	Cookie:                  "Cookie",
	SetCookie:               "Set-Cookie",
	Authorization:           "Authorization",
	WWWAuthenticate:         "WWW-Authenticate",
	IdempotencyKey:          "Idempotency-Key",
	UserAgent:               "User-Agent",
	Accept:                  "Accept",
	AcceptEncoding:          "Accept-Encoding",
	AcceptLanguage:          "Accept-Language",
	AcceptRanges:            "Accept-Ranges",
	Referer:                 "Referer",
	Origin:                  "Origin",
	Range:                   "Range",
	IfMatch:                 "If-Match",
	IfNoneMatch:             "If-None-Match",
	IfModifiedSince:         "If-Modified-Since",
	IfUnmodifiedSince:       "If-Unmodified-Since",
	CacheControl:            "Cache-Control",
	ContentType:             "Content-Type",
	ContentEncoding:         "Content-Encoding",
	ContentRange:            "Content-Range",
	ContentLanguage:         "Content-Language",
	Date:                    "Date",
	Server:                  "Server",
	ETag:                    "ETag",
	LastModified:            "Last-Modified",
	Expires:                 "Expires",
	Age:                     "Age",
	Vary:                    "Vary",
	Location:                "Location",
	RetryAfter:              "Retry-After",
	Pragma:                  "Pragma",
	UpgradeInsecureRequests: "Upgrade-Insecure-Requests",
	SecFetchSite:            "Sec-Fetch-Site",
	SecFetchMode:            "Sec-Fetch-Mode",
	SecFetchDest:            "Sec-Fetch-Dest",
	SecFetchUser:            "Sec-Fetch-User",
	Priority:                "Priority",
}

// String is the name as it is usually written, empty for Unknown.
func (id ID) String() string {
	if id < lastID {
		return spelling[id]
	}
	return ""
}

// longestName is the length of the longest known name.
const longestName = len("Upgrade-Insecure-Requests")

// A known name, for comparing eight bytes at a time: the words it begins with and the one its last byte ends, in lower case, and for each the
// bits in which its letters show their case. Only letters are folded: a carriage return is not a hyphen in upper case.
type known struct {
	length int
	word   [4]uint64
	letter [4]uint64
}

// knownNames are the names by ID, and slots finds the one candidate for a name by its hash.
var knownNames, slots = index()

func index() (names [lastID]known, slots [512]ID) {
	for id := Host; id < lastID; id++ {
		name := []byte(spelling[id])
		k := &names[id]
		k.length = len(name)
		for w, at := range [4]int{0, 8, 16, max(0, len(name)-8)} {
			for i := at; i < min(at+8, len(name)); i++ {
				c := fold(name[i])
				k.word[w] |= uint64(c) << (8 * (i - at))
				if 'a' <= c && c <= 'z' {
					k.letter[w] |= 0x20 << (8 * (i - at))
				}
			}
		}
		head, tail := ends(name, 0, len(name))
		slots[slot(head, tail)] = id
	}
	return names, slots
}

// ends are the first and the last eight bytes of b[from:to], or all of them twice where there are fewer.
func ends(b []byte, from, to int) (head, tail uint64) {
	head = load(b, from)
	if to-from < 8 {
		head &= 1<<(8*uint(to-from)&63) - 1
		return head, head
	}
	return head, load(b, to-8)
}

// slot hashes a name. The multiplier was found by search: no two known names share a slot (a test holds this).
func slot(head, tail uint64) uint64 {
	h := (bits.RotateLeft64(head|folds, 5) ^ (tail | folds)) * 0x5c90a9587403e431
	return (h >> 55) & 511
}

// identify finds which known name b[from:to] is.
func identify(b []byte, from, to int) ID {
	head, tail := ends(b, from, to)
	id := slots[slot(head, tail)]
	k := &knownNames[id]
	if k.length != to-from || head|k.letter[0] != k.word[0] || tail|k.letter[3] != k.word[3] ||
		k.length > 16 && load(b, from+8)|k.letter[1] != k.word[1] ||
		k.length > 24 && load(b, from+16)|k.letter[2] != k.word[2] {
		return Unknown
	}
	return id
}

// Identify finds the well-known name that name is, whatever its case.
func Identify(name []byte) ID {
	if len(name) == 0 {
		return Unknown
	}
	return identify(name, 0, len(name))
}
