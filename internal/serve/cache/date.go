package cache

import "time"

// rfc850 and the others are the formats of a date in HTTP (RFC 9110, section 5.6.7), the one to be generated first.
const (
	imfFixdate = "Mon, 02 Jan 2006 15:04:05 GMT"
	rfc850     = "Monday, 02-Jan-06 15:04:05 GMT"
	asctime    = "Mon Jan _2 15:04:05 2006"
)

// parseDate reads a date of HTTP in any of its formats. Nothing else is one, near as it may come.
func parseDate(value []byte, now time.Time) (time.Time, bool) {
	s := string(value)
	if len(s) < 24 || len(s) > 40 {
		return time.Time{}, false
	}
	if t, err := time.Parse(imfFixdate, s); err == nil {
		return t, len(s) == len(imfFixdate)
	}
	if t, err := time.Parse(asctime, s); err == nil {
		return t, true
	}
	t, err := time.Parse(rfc850, s)
	if err != nil {
		return time.Time{}, false
	}
	if t.After(now.AddDate(50, 0, 0)) { // two digits: more than 50 years ahead is the century before
		t = t.AddDate(-100, 0, 0)
	}
	return t, true
}

// appendDate appends a date as HTTP writes it.
func appendDate(dst []byte, t time.Time) []byte { return t.UTC().AppendFormat(dst, imfFixdate) }
