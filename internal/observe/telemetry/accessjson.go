package telemetry

import (
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"
)

// appendJSON appends the line with its line feed. What is empty is left out; durations are seconds, sizes bytes.
func (a *Access) appendJSON(dst []byte) []byte {
	dst = append(dst, `{"time":"`...)
	dst = a.Time.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000Z07:00")
	dst = append(dst, '"')
	dst = appendText(dst, `,"listener":`, a.Listener)
	dst = appendText(dst, `,"route":`, a.Route)
	dst = appendText(dst, `,"service":`, a.Service)
	dst = appendText(dst, `,"member":`, a.Member)
	if a.Client.IsValid() {
		dst = append(dst, `,"client":"`...)
		ip := a.Client.Addr().Unmap().WithZone("")
		if port := a.Client.Port(); port == 0 {
			dst = ip.AppendTo(dst)
		} else {
			dst = netip.AddrPortFrom(ip, port).AppendTo(dst)
		}
		dst = append(dst, '"')
	}
	dst = appendText(dst, `,"method":`, a.Method)
	dst = appendText(dst, `,"host":`, a.Host)
	dst = appendText(dst, `,"path":`, a.Path)
	dst = appendText(dst, `,"proto":`, a.Proto)
	if a.Status != 0 {
		dst = strconv.AppendInt(append(dst, `,"status":`...), int64(a.Status), 10)
	}
	dst = appendSeconds(append(dst, `,"duration_seconds":`...), a.Took)
	if a.Wait > 0 {
		dst = appendSeconds(append(dst, `,"wait_seconds":`...), a.Wait)
	}
	if a.Upstream > 0 {
		dst = appendSeconds(append(dst, `,"upstream_seconds":`...), a.Upstream)
	}
	dst = strconv.AppendInt(append(dst, `,"bytes_in":`...), a.In, 10)
	dst = strconv.AppendInt(append(dst, `,"bytes_out":`...), a.Out, 10)
	if a.Tries != 0 {
		dst = strconv.AppendInt(append(dst, `,"tries":`...), int64(a.Tries), 10)
	}
	dst = appendText(dst, `,"request_id":`, a.RequestID)
	if !a.Trace.IsZero() {
		dst = append(appendHex(append(dst, `,"trace_id":"`...), a.Trace.ID[:]), '"')
	}
	dst = appendText(dst, `,"user_agent":`, a.UserAgent)
	dst = appendText(dst, `,"referer":`, a.Referer)
	dst = appendText(dst, `,"note":`, a.Note)
	return append(dst, '}', '\n')
}

// appendText appends a key and a string; nothing where the string is empty.
func appendText[T string | []byte](dst []byte, key string, s T) []byte {
	if len(s) == 0 {
		return dst
	}
	return appendQuoted(append(dst, key...), s)
}

// appendSeconds appends seconds to the microsecond.
func appendSeconds(dst []byte, d time.Duration) []byte {
	us := max(d, 0).Microseconds()
	dst = strconv.AppendInt(dst, us/1e6, 10)
	dst = append(dst, '.')
	us %= 1e6
	for unit := int64(1e5); unit > 0; unit /= 10 {
		dst = append(dst, byte('0'+us/unit%10))
	}
	return dst
}

// appendQuoted appends a JSON string (RFC 8259, section 7). Bytes that are no UTF-8 become U+FFFD, so that a line is
// valid whatever a client sends.
func appendQuoted[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			if _, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))])); size > 1 {
				i += size
				continue
			}
		}
		dst = append(dst, s[start:i]...)
		i++
		start = i
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			if c >= utf8.RuneSelf {
				dst = append(dst, "\ufffd"...)
				continue
			}
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}
