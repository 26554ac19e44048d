package http1

import (
	"bufio"
	"errors"
	"net/http"
	"strings"
	"testing"
)

// framingCase is one way to have two parsers understand two things, or a neighbour of one that is innocent.
type framingCase struct {
	name, head string
	status     int // 0: accepted
	why        string
}

// host ends a head that is fine but for what stands before it.
const host = "Host: a\r\n\r\n"

var requestCases = []framingCase{
	// Where the body ends: Content-Length against Transfer-Encoding.
	{"CL.TE", "POST / HTTP/1.1\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n" + host, 400, "9112 6.1: whichever one takes, another takes the other"},
	{"TE.CL", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n" + host, 400, "order changes nothing"},
	{"CL.TE with zero", "POST / HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n" + host, 400, "a zero is a length too"},
	{"CL.TE in capitals", "POST / HTTP/1.1\r\nCONTENT-LENGTH: 6\r\nTRANSFER-ENCODING: CHUNKED\r\n" + host, 400, "names and codings have no case"},
	{"TE hidden behind a tab", "POST / HTTP/1.1\r\nContent-Length: 6\r\nTransfer-Encoding:\tchunked\r\n" + host, 400, "HTAB is optional white space, so this is chunked"},
	{"CL and unknown TE", "POST / HTTP/1.1\r\nContent-Length: 6\r\nTransfer-Encoding: xchunked\r\n" + host, 501, "an unknown coding is refused before the length is looked at"},
	{"CL and identity", "POST / HTTP/1.1\r\nContent-Length: 6\r\nTransfer-Encoding: identity\r\n" + host, 400, "identity is gone since RFC 7230; some still take it"},
	{"CL and empty TE", "POST / HTTP/1.1\r\nContent-Length: 6\r\nTransfer-Encoding:\r\n" + host, 400, "an empty list is no coding; some fall back to the length"},

	// Content-Length by itself.
	{"CL twice, different", "POST / HTTP/1.1\r\nContent-Length: 6\r\nContent-Length: 5\r\n" + host, 400, "9112 6.3: first or last?"},
	{"CL twice, the same", "POST / HTTP/1.1\r\nContent-Length: 6\r\nContent-Length: 6\r\n" + host, 400, "may be refused, and no client does it"},
	{"CL twice, other case", "POST / HTTP/1.1\r\nContent-Length: 6\r\ncontent-length: 5\r\n" + host, 400, "names have no case"},
	{"CL list", "POST / HTTP/1.1\r\nContent-Length: 6, 6\r\n" + host, 400, "not a number"},
	{"CL with plus", "POST / HTTP/1.1\r\nContent-Length: +6\r\n" + host, 400, "strtol takes it, the grammar does not"},
	{"CL with minus", "POST / HTTP/1.1\r\nContent-Length: -6\r\n" + host, 400, "no negative lengths"},
	{"CL minus zero", "POST / HTTP/1.1\r\nContent-Length: -0\r\n" + host, 400, "a sign is a sign"},
	{"CL hexadecimal", "POST / HTTP/1.1\r\nContent-Length: 0x6\r\n" + host, 400, "only decimal"},
	{"CL octal looking", "POST / HTTP/1.1\r\nContent-Length: 010\r\n" + host, 400, "8 to strtol with base 0, 10 to others"},
	{"CL with inner space", "POST / HTTP/1.1\r\nContent-Length: 1 0\r\n" + host, 400, "1, 10 or nothing?"},
	{"CL with inner tab", "POST / HTTP/1.1\r\nContent-Length: 1\t0\r\n" + host, 400, "as with a space"},
	{"CL with fraction", "POST / HTTP/1.1\r\nContent-Length: 6.0\r\n" + host, 400, "digits only"},
	{"CL with exponent", "POST / HTTP/1.1\r\nContent-Length: 1e3\r\n" + host, 400, "digits only"},
	{"CL with underscore", "POST / HTTP/1.1\r\nContent-Length: 1_0\r\n" + host, 400, "some languages' integers have them"},
	{"CL of 2^63", "POST / HTTP/1.1\r\nContent-Length: 9223372036854775808\r\n" + host, 400, "overflows int64"},
	{"CL of 2^64", "POST / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n" + host, 400, "wraps to 0 in careless parsers"},
	{"CL of 2^64+6", "POST / HTTP/1.1\r\nContent-Length: 18446744073709551622\r\n" + host, 400, "wraps to 6"},
	{"CL empty", "POST / HTTP/1.1\r\nContent-Length: \r\n" + host, 400, "no digit"},
	{"CL in other digits", "POST / HTTP/1.1\r\nContent-Length: \u0661\r\n" + host, 400, "an Arabic one: isdigit of some languages"},
	{"CL quoted", "POST / HTTP/1.1\r\nContent-Length: \"6\"\r\n" + host, 400, "digits only"},
	{"CL with vertical tab", "POST / HTTP/1.1\r\nContent-Length: \v6\r\n" + host, 400, "strtol skips it as white space"},
	{"CL with form feed", "POST / HTTP/1.1\r\nContent-Length: 6\f\r\n" + host, 400, "trim() of many libraries takes it off"},
	{"CL plain", "POST / HTTP/1.1\r\nContent-Length: 6\r\n" + host, 0, "the innocent case"},
	{"CL with white space around", "POST / HTTP/1.1\r\nContent-Length: \t 6 \t\r\n" + host, 0, "9110 5.5: not part of the value"},
	{"CL of zero", "POST / HTTP/1.1\r\nContent-Length: 0\r\n" + host, 0, "a body of no bytes"},
	{"CL on GET", "GET / HTTP/1.1\r\nContent-Length: 6\r\n" + host, 0, "9110 9.3.1: unusual, but framed"},

	// Transfer-Encoding by itself.
	{"TE chunked", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + host, 0, "the innocent case"},
	{"TE in capitals", "POST / HTTP/1.1\r\nTransfer-Encoding: ChUnKeD\r\n" + host, 0, "9110 10.1.4: codings have no case"},
	{"TE xchunked", "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n" + host, 501, "unknown; a search for the word would find it"},
	{"TE chunkedx", "POST / HTTP/1.1\r\nTransfer-Encoding: chunkedx\r\n" + host, 501, "a comparison of seven bytes would take it"},
	{"TE chunked, identity", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n" + host, 400, "chunked is not last"},
	{"TE identity, chunked", "POST / HTTP/1.1\r\nTransfer-Encoding: identity, chunked\r\n" + host, 501, "identity is no coding any more"},
	{"TE gzip, chunked", "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n" + host, 501, "framed, but not for us to decode"},
	{"TE gzip", "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n" + host, 501, "not known here"},
	{"TE chunked, gzip", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n" + host, 400, "9112 6.3: the end cannot be known"},
	{"TE identity", "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n" + host, 400, "no framing at all"},
	{"TE chunked, chunked", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n" + host, 400, "9112 6.1: never twice"},
	{"TE on two lines", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" + host, 400, "first, last or both?"},
	{"TE on two lines, second odd", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n" + host, 400, "first, last or both?"},
	{"TE with empty element", "POST / HTTP/1.1\r\nTransfer-Encoding: , chunked\r\n" + host, 400, "some split at the comma and take the first"},
	{"TE with trailing comma", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked,\r\n" + host, 501, "not plainly chunked"},
	{"TE quoted", "POST / HTTP/1.1\r\nTransfer-Encoding: \"chunked\"\r\n" + host, 400, "not a token"},
	{"TE in single quotes", "POST / HTTP/1.1\r\nTransfer-Encoding: 'chunked'\r\n" + host, 501, "a token, but not that one"},
	{"TE with parameter", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked;q=1\r\n" + host, 400, "chunked has no parameters"},
	{"TE with inner space", "POST / HTTP/1.1\r\nTransfer-Encoding: chu nked\r\n" + host, 400, "not a token"},
	{"TE with vertical tab", "POST / HTTP/1.1\r\nTransfer-Encoding: \vchunked\r\n" + host, 400, "stripped by one, not by the next"},
	{"TE with NUL", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\x00\r\n" + host, 400, "a C string ends there"},
	{"TE with no-break space", "POST / HTTP/1.1\r\nTransfer-Encoding: \xa0chunked\r\n" + host, 400, "white space in Latin-1 only"},
	{"TE folded", "POST / HTTP/1.1\r\nTransfer-Encoding:\r\n chunked\r\n" + host, 400, "obsolete folding hides the value"},
	{"TE with space before colon", "POST / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n" + host, 400, "9112 5.1: MUST be refused"},
	{"TE with tab before colon", "POST / HTTP/1.1\r\nTransfer-Encoding\t: chunked\r\n" + host, 400, "9112 5.1"},
	{"TE with leading space", "POST / HTTP/1.1\r\n Transfer-Encoding: chunked\r\n" + host, 400, "ignored by one, folded by another"},
	{"TE behind a bare CR", "POST / HTTP/1.1\r\nX: y\rTransfer-Encoding: chunked\r\n" + host, 400, "a line end to some"},
	{"TE behind a bare LF", "POST / HTTP/1.1\r\nX: y\nTransfer-Encoding: chunked\r\n" + host, 400, "a line end to many"},
	{"TE without hyphen", "POST / HTTP/1.1\r\nTransfer_Encoding: chunked\r\n" + host, 0, "another name; the one it is in disguise is not forwarded"},
	{"TE name with CR for hyphen", "POST / HTTP/1.1\r\nTransfer\rEncoding: chunked\r\n" + host, 400, "0x0d is 0x2d but for the bit of case"},
	{"TE in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n" + host, 400, "9112 6.1: framing is faulty"},
	{"TE on GET", "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + host, 0, "unusual, but framed"},

	// Lines and white space.
	{"bare LF after request line", "GET / HTTP/1.1\n" + host, 400, "9112 2.2 lets it pass; two parsers then disagree"},
	{"bare LF after field", "GET / HTTP/1.1\r\nX: y\n" + host, 400, "as above"},
	{"bare LF ends the head", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400, "the body begins here or later"},
	{"LF LF ends the head", "GET / HTTP/1.1\r\nHost: a\n\n", 400, "as above"},
	{"bare CR in value", "GET / HTTP/1.1\r\nX: y\rz\r\n" + host, 400, "9112 2.2: invalid"},
	{"bare CR before CRLF", "GET / HTTP/1.1\r\nX: y\r\r\n" + host, 400, "one line end or two?"},
	{"bare CR in request line", "GET /\r HTTP/1.1\r\n" + host, 400, "never white space"},
	{"bare CR in name", "GET / HTTP/1.1\r\nX\rY: z\r\n" + host, 400, "not a token"},
	{"bare CR ends the head", "GET / HTTP/1.1\r\nHost: a\r\n\r\r\n", 400, "neither field nor end"},
	{"obs-fold with space", "GET / HTTP/1.1\r\nX: y\r\n z\r\n" + host, 400, "9112 5.2"},
	{"obs-fold with tab", "GET / HTTP/1.1\r\nX: y\r\n\tz\r\n" + host, 400, "9112 5.2"},
	{"obs-fold first", "GET / HTTP/1.1\r\n X: y\r\n" + host, 400, "9112 2.2: white space between start line and first field"},
	{"line of white space", "GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n", 400, "an end of head to some"},
	{"space before colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "9112 5.1"},
	{"NUL in value", "GET / HTTP/1.1\r\nX: a\x00b\r\n" + host, 400, "9110 5.5: dangerous"},
	{"NUL in name", "GET / HTTP/1.1\r\nX\x00: a\r\n" + host, 400, "not a token"},
	{"NUL first", "\x00GET / HTTP/1.1\r\n" + host, 400, "not a token"},
	{"control byte in value", "GET / HTTP/1.1\r\nX: a\x01b\r\n" + host, 400, "9110 5.5"},
	{"DEL in value", "GET / HTTP/1.1\r\nX: a\x7fb\r\n" + host, 400, "a control byte"},
	{"escape in value", "GET / HTTP/1.1\r\nX: a\x1bb\r\n" + host, 400, "terminal escapes end in logs"},
	{"tab in value", "GET / HTTP/1.1\r\nX: a\tb\r\n" + host, 0, "allowed inside"},
	{"obs-text in value", "GET / HTTP/1.1\r\nX: caf\xe9\r\n" + host, 0, "9110 5.5: opaque"},
	{"empty value", "GET / HTTP/1.1\r\nX:\r\n" + host, 0, "allowed"},
	{"no space after colon", "GET / HTTP/1.1\r\nX:y\r\n" + host, 0, "white space is optional"},
	{"value of colons", "GET / HTTP/1.1\r\nX: :a:b\r\n" + host, 0, "the first colon counts"},
	{"empty name", "GET / HTTP/1.1\r\n: y\r\n" + host, 400, "9110 5.1"},
	{"no colon", "GET / HTTP/1.1\r\nX\r\n" + host, 400, "no field line"},
	{"name with slash", "GET / HTTP/1.1\r\nX/Y: z\r\n" + host, 400, "not a token"},
	{"name with at sign", "GET / HTTP/1.1\r\nX@Y: z\r\n" + host, 400, "not a token"},
	{"name with quotes", "GET / HTTP/1.1\r\n\"X\": z\r\n" + host, 400, "not a token"},
	{"name with parentheses", "GET / HTTP/1.1\r\nX(1): z\r\n" + host, 400, "not a token"},
	{"name with obs-text", "GET / HTTP/1.1\r\nX\xe9: z\r\n" + host, 400, "not a token"},
	{"name with space inside", "GET / HTTP/1.1\r\nX Y: z\r\n" + host, 400, "not a token"},
	{"name of token characters", "GET / HTTP/1.1\r\n!#$%&'*+-.^_`|~1a: z\r\n" + host, 0, "all of tchar"},
	{"empty line ahead", "\r\nGET / HTTP/1.1\r\n" + host, 0, "9112 2.2: SHOULD be skipped"},
	{"two empty lines ahead", "\r\n\r\nGET / HTTP/1.1\r\n" + host, 400, "one is enough for old clients"},
	{"bare LF ahead", "\nGET / HTTP/1.1\r\n" + host, 400, "not even there"},
	{"bare CR ahead", "\rGET / HTTP/1.1\r\n" + host, 400, "not even there"},
	{"space ahead", " GET / HTTP/1.1\r\n" + host, 400, "not a token"},

	// The request line.
	{"HTTP/0.9", "GET /\r\n" + host, 400, "no version"},
	{"two spaces after method", "GET  / HTTP/1.1\r\n" + host, 400, "9112 3: single space"},
	{"two spaces after target", "GET /  HTTP/1.1\r\n" + host, 400, "single space"},
	{"tab after method", "GET\t/ HTTP/1.1\r\n" + host, 400, "single space"},
	{"tab after target", "GET /\tHTTP/1.1\r\n" + host, 400, "single space"},
	{"space after version", "GET / HTTP/1.1 \r\n" + host, 400, "nothing follows"},
	{"space in target", "GET /a b HTTP/1.1\r\n" + host, 400, "9112 3.2: not to be guessed at"},
	{"version in target", "GET / HTTP/1.1 HTTP/1.1\r\n" + host, 400, "first or last?"},
	{"method in lower case", "get / HTTP/1.1\r\n" + host, 0, "another method: case matters"},
	{"method with colon", "GET: / HTTP/1.1\r\n" + host, 400, "not a token"},
	{"method with slash", "GE/T / HTTP/1.1\r\n" + host, 400, "not a token"},
	{"method with control byte", "GE\x01T / HTTP/1.1\r\n" + host, 400, "not a token"},
	{"unknown method", "BREW /pot HTTP/1.1\r\n" + host, 0, "methods are extensible"},
	{"no target", "GET  HTTP/1.1\r\n" + host, 400, "empty"},
	{"version in lower case", "GET / http/1.1\r\n" + host, 400, "9112 2.3: case matters"},
	{"version without dot", "GET / HTTP/11\r\n" + host, 400, "malformed"},
	{"version with two digits", "GET / HTTP/1.10\r\n" + host, 400, "one digit each"},
	{"version with leading zero", "GET / HTTP/01.1\r\n" + host, 400, "one digit each"},
	{"version 2.0", "GET / HTTP/2.0\r\n" + host, 505, "not on this wire"},
	{"version 3.0", "GET / HTTP/3.0\r\n" + host, 505, "not on this wire"},
	{"version 0.9", "GET / HTTP/0.9\r\n" + host, 505, "too old"},
	{"version 1.2", "GET / HTTP/1.2\r\n" + host, 0, "9110 2.5: as the highest we know"},
	{"preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "the caller asks IsHTTP2Preface first"},

	// The target.
	{"fragment", "GET /a#b HTTP/1.1\r\n" + host, 400, "9112 3.2: never sent; who strips it sees another path"},
	{"raw UTF-8", "GET /caf\u00e9 HTTP/1.1\r\n" + host, 400, "must be percent-encoded"},
	{"control byte in target", "GET /a\x01 HTTP/1.1\r\n" + host, 400, "must be percent-encoded"},
	{"NUL in target", "GET /a\x00 HTTP/1.1\r\n" + host, 400, "a C string ends there"},
	{"DEL in target", "GET /a\x7f HTTP/1.1\r\n" + host, 400, "must be percent-encoded"},
	{"half an escape", "GET /a%2 HTTP/1.1\r\n" + host, 400, "decoded in two ways"},
	{"escape that is none", "GET /a%zz HTTP/1.1\r\n" + host, 400, "decoded in two ways"},
	{"percent in query", "GET /a?q=100% HTTP/1.1\r\n" + host, 0, "opaque, and found in practice"},
	{"encoded slash", "GET /a%2fb HTTP/1.1\r\n" + host, 0, "forwarded as it is"},
	{"encoded NUL", "GET /a%00b HTTP/1.1\r\n" + host, 0, "forwarded as it is"},
	{"dots in path", "GET /a/../b HTTP/1.1\r\n" + host, 0, "forwarded as it is; routing must not decode it away"},
	{"two slashes", "GET //a HTTP/1.1\r\n" + host, 0, "a path, not an authority"},
	{"relative path", "GET a HTTP/1.1\r\n" + host, 400, "9112 3.2: no such form"},
	{"only a query", "GET ?a HTTP/1.1\r\n" + host, 400, "no such form"},
	{"asterisk with GET", "GET * HTTP/1.1\r\n" + host, 400, "9112 3.2.4: OPTIONS only"},
	{"asterisk with OPTIONS", "OPTIONS * HTTP/1.1\r\n" + host, 0, "9112 3.2.4"},
	{"asterisk with more", "OPTIONS *a HTTP/1.1\r\n" + host, 400, "no such form"},
	{"authority with GET", "GET a:80 HTTP/1.1\r\n" + host, 400, "9112 3.2.3: CONNECT only"},
	{"CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 0, "well-formed; the proxy refuses it"},
	{"CONNECT without port", "CONNECT a HTTP/1.1\r\n" + host, 400, "9112 3.2.3"},
	{"CONNECT with path", "CONNECT /a HTTP/1.1\r\n" + host, 400, "no such form"},
	{"CONNECT against Host", "CONNECT b:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 400, "which host?"},
	{"absolute form", "GET http://a/x HTTP/1.1\r\n" + host, 0, "9112 3.2.2: MUST be accepted"},
	{"absolute form, other case", "GET HTTP://A/x HTTP/1.1\r\n" + host, 0, "hosts and schemes have no case"},
	{"absolute form against Host", "GET http://b/x HTTP/1.1\r\n" + host, 400, "9112 3.2.2 takes the target; others take Host"},
	{"absolute form, other port", "GET http://a:81/x HTTP/1.1\r\n" + host, 400, "another authority"},
	{"absolute form without Host", "GET http://a/x HTTP/1.1\r\n\r\n", 400, "9112 3.2: Host is required all the same"},
	{"absolute form with user", "GET http://u@a/x HTTP/1.1\r\n" + host, 400, "9110 4.2.4"},
	{"absolute form with decoy user", "GET http://a@b/x HTTP/1.1\r\n" + host, 400, "a is not the host"},
	{"absolute form of other scheme", "GET ftp://a/x HTTP/1.1\r\n" + host, 400, "not ours"},
	{"absolute form of file", "GET file:///etc/passwd HTTP/1.1\r\n" + host, 400, "not ours"},
	{"absolute form without host", "GET http:///x HTTP/1.1\r\n" + host, 400, "9110 4.2.1: empty host is invalid"},
	{"absolute form with one slash", "GET http:/a/x HTTP/1.1\r\n" + host, 400, "no authority"},
	{"absolute form with backslash", "GET http://a\\b/x HTTP/1.1\r\n" + host, 400, "browsers read it as a slash"},
	{"scheme in query", "GET /?http://b/ HTTP/1.1\r\n" + host, 0, "just a query"},

	// Host.
	{"no Host", "GET / HTTP/1.1\r\n\r\n", 400, "9112 3.2: MUST be refused"},
	{"no Host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", 0, "not required then"},
	{"Host twice", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "9112 3.2: MUST be refused"},
	{"Host twice, the same", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "MUST be refused"},
	{"Host empty", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "an http URI has a host"},
	{"Host with path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "not an authority"},
	{"Host with user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, "not allowed there"},
	{"Host with space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "first or last?"},
	{"Host with comma", "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400, "two hosts to some"},
	{"Host with scheme", "GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", 400, "not an authority"},
	{"Host with obs-text", "GET / HTTP/1.1\r\nHost: \xe9\r\n\r\n", 400, "not a host"},
	{"Host with bad port", "GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n", 400, "digits only"},
	{"Host with large port", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400, "no such port"},
	{"Host with two ports", "GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", 400, "first or last?"},
	{"Host of IPv6", "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", 0, "in brackets"},
	{"Host of open bracket", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, "not closed"},
	{"Host after bracket", "GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n", 400, "only a port may follow"},

	// Connection, Expect, Upgrade.
	{"Connection lists Host", "GET / HTTP/1.1\r\nConnection: Host\r\n" + host, 400, "it would be taken away on the way"},
	{"Connection lists CL", "POST / HTTP/1.1\r\nConnection: content-length\r\nContent-Length: 3\r\n" + host, 400, "the member would see a body as a request"},
	{"Connection lists TE", "POST / HTTP/1.1\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n" + host, 0, "hop-by-hop anyway: the next hop is framed anew"},
	{"Connection lists nonsense", "GET / HTTP/1.1\r\nConnection: close, a b\r\n" + host, 400, "not tokens"},
	{"Connection of empty elements", "GET / HTTP/1.1\r\nConnection: , close,,\r\n" + host, 0, "9110 5.6.1: read over"},
	{"unknown expectation", "GET / HTTP/1.1\r\nExpect: the unexpected\r\n" + host, 417, "9110 10.1.1"},
	{"two expectations", "GET / HTTP/1.1\r\nExpect: 100-continue, x\r\n" + host, 417, "9110 10.1.1"},
	{"100-continue", "POST / HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n" + host, 0, "the known one"},

	{"trailers promise CL", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTrailer: x, Content-Length\r\n" + host, 400, "9110 6.5.1: framing"},
	{"trailers promised", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n" + host, 0, "9110 6.6.2"},

	// Sizes.
	{"request line too long", "GET /" + strings.Repeat("a", 70000) + " HTTP/1.1\r\n" + host, 414, "over the limit of the head"},
	{"request line without end", "GET /" + strings.Repeat("a", 70000), 414, "known before it ends"},
	{"field too long", "GET / HTTP/1.1\r\nX: " + strings.Repeat("a", 70000) + "\r\n" + host, 431, "over the limit of the head"},
	{"fields too many", "GET / HTTP/1.1\r\n" + strings.Repeat("X: y\r\n", 100) + host, 431, "one over the limit"},
	{"fields just enough", "GET / HTTP/1.1\r\n" + strings.Repeat("X: y\r\n", 99) + host, 0, "the limit itself"},
}

func TestRequestFraming(t *testing.T) {
	if len(requestCases) < 120 {
		t.Errorf("%d cases; there were more", len(requestCases))
	}
	var r Request
	for _, c := range requestCases {
		n, err := r.Parse([]byte(c.head), Limits{})
		checkVerdict(t, c, n, err)
		if c.status == 0 && n != len(c.head) {
			t.Errorf("%s: head of %d bytes, want %d", c.name, n, len(c.head))
		}
		if c.status == 0 {
			head := strings.TrimPrefix(c.head, "\r\n") // the one liberty that net/http does not take
			if _, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head))); err != nil {
				t.Errorf("%s: accepted, but net/http refuses: %v", c.name, err)
			}
		}
	}
}

func checkVerdict(t *testing.T, c framingCase, n int, err error) {
	t.Helper()
	var refused *Error
	switch {
	case errors.As(err, &refused):
		if refused.Status != c.status {
			t.Errorf("%s: refused with %v, want %d (%s)", c.name, err, c.status, c.why)
		}
	case c.status != 0:
		t.Errorf("%s: accepted %d bytes, want %d (%s)", c.name, n, c.status, c.why)
	case n == 0:
		t.Errorf("%s: incomplete, want it accepted (%s)", c.name, c.why)
	}
}
