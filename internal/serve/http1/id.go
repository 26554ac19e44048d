package http1

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

// Identify finds the well-known name that name is, whatever its case.
func Identify(name []byte) ID { panic("http1: not written yet") }

// String is the name as it is usually written.
func (id ID) String() string { panic("http1: not written yet") }
