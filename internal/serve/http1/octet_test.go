package http1

import (
	"strings"
	"testing"
)

func TestIdentify(t *testing.T) {
	seen := map[ID]bool{}
	for id := Host; id < lastID; id++ {
		name := id.String()
		for _, spelled := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			if got := Identify([]byte(spelled)); got != id {
				t.Errorf("Identify(%q) = %v, want %v: another name has its slot, or the table is wrong", spelled, got, name)
			}
			for i := range len(spelled) { // one byte off, in every bit
				for bit := range 8 {
					other := []byte(spelled)
					if other[i] ^= 1 << bit; EqualFold(other, name) {
						continue
					}
					if got := Identify(other); got == id {
						t.Errorf("Identify(%q) = %v", other, got)
					}
				}
			}
		}
		for _, other := range []string{name + "x", name[1:], name[:len(name)-1], " " + name, name + "\x00"} {
			if got := Identify([]byte(other)); got == id {
				t.Errorf("Identify(%q) = %v", other, got)
			}
		}
		seen[id] = true
	}
	if len(seen) != int(lastID)-1 || lastID > 64 {
		t.Errorf("%d names; a Set has room for 63", len(seen))
	}
	if Identify(nil) != Unknown || Unknown.String() != "" || ID(255).String() != "" {
		t.Error("the unknown name has a spelling")
	}
}

// TestMasks compares each eight-byte mask with what it stands for, byte by byte, in every position.
func TestMasks(t *testing.T) {
	for _, m := range []struct {
		name string
		mask func(uint64) uint64
		want func(byte) bool
	}{
		{"controls", controls, func(c byte) bool { return c < ' ' || c == 0x7f }},
		{"targetStops", targetStops, func(c byte) bool { return c <= ' ' || c >= 0x7f || c == '#' || c == '%' || c == '?' }},
		{"equal", func(x uint64) uint64 { return equal(x, ':') }, func(c byte) bool { return c == ':' }},
	} {
		for _, around := range []byte{'a', '~', '!', '/', '@'} {
			for at := range 8 {
				for c := range 256 {
					b := []byte(strings.Repeat(string(rune(around)), 8))
					b[at] = byte(c)
					mask := m.mask(load(b, 0))
					if got := mask != 0; got != m.want(byte(c)) || got && first(mask) != at {
						t.Fatalf("%s: %#02x among %q at %d: mask %#x", m.name, c, around, at, mask)
					}
				}
			}
		}
	}
}

func TestLoad(t *testing.T) {
	b := []byte("abcdefghijk")
	for n := range len(b) + 1 {
		for i := range n + 2 {
			var want uint64
			for k := min(n, i+8) - 1; k >= i; k-- {
				want = want<<8 | uint64(b[k])
			}
			if got := load(b[:n], i); got != want {
				t.Errorf("load(%q, %d) = %#x, want %#x", b[:n], i, got, want)
			}
		}
	}
}

func TestValidHost(t *testing.T) {
	for _, good := range []string{"a", "a.example.org", "a:0", "a:65535", "127.0.0.1:80", "[::1]", "[2001:db8::1]:443", "under_score", "xn--caf-dma.example", "a.", "~x-y"} {
		if !ValidHost([]byte(good)) {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{"", ":", ":80", "a:", "a:65536", "a:000080", "a:-1", "a b", "a,b", "a/b", "a\\b", "a@b", "a?b", "a#b", "a%41", "[", "[]", "[:]", "[::1", "[::1]x", "[::1]:", "[a.b]c",
		"a\x00", "\xe9", "[::g]", "a:80:80", "a;b", "<a>", "[fe80::1%25eth0]"} {
		if ValidHost([]byte(bad)) {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestTokens(t *testing.T) {
	for list, want := range map[string]bool{"": false, "trailers": true, " Trailers ": true, "a, trailers": true, "trailersx": false, "x trailers": false, "a,,trailers,": true, ",": false} {
		if HasToken([]byte(list), "trailers") != want {
			t.Errorf("HasToken(%q) is %t", list, !want)
		}
	}
	for value, want := range map[string]bool{"": true, "a b\tc": true, "caf\xe9": true, " a": false, "a\t": false, "a\nb": false, "\x00": false, "a\x7f": false} {
		if ValidValue(value) != want {
			t.Errorf("ValidValue(%q) is %t", value, !want)
		}
	}
	for token, want := range map[string]bool{"": false, "GET": true, "x-y": true, "a b": false, "a:": false, "\xe9": false} {
		if ValidToken(token) != want {
			t.Errorf("ValidToken(%q) is %t", token, !want)
		}
	}
	if EqualFold("a", "ab") || !EqualFold("aB-c", []byte("Ab-C")) || EqualFold("a-", "a\r") {
		t.Error("EqualFold")
	}
}

func TestAppend(t *testing.T) {
	for got, want := range map[string]string{
		string(AppendRequestLine(nil, []byte("GET"), []byte("/"), nil)):             "GET / HTTP/1.1\r\n",
		string(AppendRequestLine(nil, []byte("GET"), []byte("/x"), []byte{})):       "GET /x? HTTP/1.1\r\n",
		string(AppendRequestLine(nil, []byte("GET"), []byte("/x"), []byte("y=z"))):  "GET /x?y=z HTTP/1.1\r\n",
		string(AppendStatusLine(nil, 404, nil)):                                     "HTTP/1.1 404 Not Found\r\n",
		string(AppendStatusLine(nil, 200, []byte("Fine"))):                          "HTTP/1.1 200 Fine\r\n",
		string(AppendStatusLine(nil, 599, nil)):                                     "HTTP/1.1 599 \r\n",
		string(AppendField(nil, "A", "b\tc")):                                       "A: b\tc\r\n",
		string(AppendField(nil, []byte("A"), []byte("b\r\nSet-Cookie: x\x00\x7f"))): "A: b  Set-Cookie: x  \r\n",
		string(AppendIntField(nil, "Content-Length", 0)):                            "Content-Length: 0\r\n",
		string(AppendIntField([]byte("x"), "Content-Length", 1<<40)):                "xContent-Length: 1099511627776\r\n",
		string(AppendChunkHead(nil, 1)):                                             "1\r\n",
		string(AppendChunkHead(nil, 16)):                                            "10\r\n",
		string(AppendChunkHead(nil, 0xabcdef)):                                      "abcdef\r\n",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for status, want := range map[int]string{100: "Continue", 200: "OK", 308: "Permanent Redirect", 431: "Request Header Fields Too Large", 511: "Network Authentication Required", 0: "", -1: "", 999: "", 418: ""} {
		if got := StatusText(status); got != want {
			t.Errorf("StatusText(%d) = %q, want %q", status, got, want)
		}
	}
}

func TestHTTP2Preface(t *testing.T) {
	for i := range HTTP2Preface {
		if is, undecided := IsHTTP2Preface([]byte(HTTP2Preface[:i])); is || !undecided {
			t.Errorf("after %d bytes: %t, %t", i, is, undecided)
		}
	}
	if is, _ := IsHTTP2Preface([]byte(HTTP2Preface + "\x00")); !is {
		t.Error("not recognised")
	}
	for _, other := range []string{"G", "PRI * HTTP/2.0\r\n\r\nSX", "POST /", "PUT"} {
		if is, undecided := IsHTTP2Preface([]byte(other)); is || undecided {
			t.Errorf("%q: %t, %t", other, is, undecided)
		}
	}
}
