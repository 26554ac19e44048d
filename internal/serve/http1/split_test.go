package http1

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// feed parses head as it arrives in pieces that end at cuts, in a buffer that stays in place or moves.
func feed(head string, cuts []int, moves bool) string {
	var r Request
	buf := []byte(head)
	for _, cut := range append(cuts, len(head)) {
		piece := buf[:cut]
		if moves {
			piece = append([]byte(nil), piece...)
		}
		if n, err := r.Parse(piece, Limits{Head: 4096}); n > 0 || err != nil {
			if err != nil {
				return err.Error()
			}
			return describe(&r, n)
		}
	}
	return "incomplete"
}

func describe(r *Request, n int) string {
	s := fmt.Sprintf("%d %q %d %q %q %q %q %q %d %d %t %t %q %t\n", n, r.Method, r.Verb, r.Target, r.Scheme, r.Host, r.Path, r.Query, r.Minor,
		r.Length, r.Close, r.Expect, r.Upgrade, r.Trailers)
	for _, f := range r.Fields {
		s += fmt.Sprintf("%q %q %v %t\n", f.Name, f.Value, f.ID, f.Drop)
	}
	return s + string(r.AppendHead(nil))
}

// TestSplitAnywhere: what is understood does not depend on how the bytes arrive.
func TestSplitAnywhere(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, c := range requestCases {
		if len(c.head) > 2000 {
			continue
		}
		want := feed(c.head, nil, false)
		bytewise := make([]int, len(c.head))
		for i := range bytewise {
			bytewise[i] = i
		}
		plans := [][]int{bytewise}
		for i := range c.head {
			plans = append(plans, []int{i}, []int{i, i + random.IntN(len(c.head)-i)})
		}
		for _, cuts := range plans {
			for _, moves := range []bool{false, true} {
				if got := feed(c.head, cuts, moves); got != want {
					t.Fatalf("%s, split at %v (moves %t):\n%s\nwant\n%s", c.name, cuts, moves, got, want)
				}
			}
		}
	}
}

// TestDrip: a head that arrives byte by byte costs a time that grows with its length, not with its square.
func TestDrip(t *testing.T) {
	head := "GET /" + strings.Repeat("a", 300<<10) + " HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("b", 300<<10) + "\r\n" +
		strings.Repeat("Y: z\r\n", 90) + "\r\n"
	buf, lim := []byte(head), Limits{Head: 1 << 20}
	r := new(Request)
	start := time.Now()
	for i := 1; i < len(buf); i++ {
		if n, err := r.Parse(buf[:i], lim); n != 0 || err != nil {
			t.Fatalf("after %d bytes: %d, %v", i, n, err)
		}
	}
	if n, err := r.Parse(buf, lim); n != len(buf) || err != nil {
		t.Fatal(n, err)
	}
	if took := time.Since(start); took > 20*time.Second { // 20 ms; the square would be minutes
		t.Errorf("%d bytes took %v", len(buf), took)
	}
}

// TestToldAtOnce: what is no HTTP at all is refused without waiting for a line, with the byte that shows it.
func TestToldAtOnce(t *testing.T) {
	for _, garbage := range []string{"\x16", "\x00", " ", "\n", "\xff", "\r\n\x16", "\r\n\r", "\rG"} {
		r, buf := new(Request), []byte(garbage)
		for i := 1; i < len(buf); i++ {
			if n, err := r.Parse(buf[:i], Limits{}); n != 0 || err != nil {
				t.Errorf("%q: %d, %v after %d bytes", garbage, n, err, i)
			}
		}
		if _, err := r.Parse(buf, Limits{}); err == nil {
			t.Errorf("%q byte by byte is not refused", garbage)
		}
		if _, err := new(Request).Parse(buf, Limits{}); err == nil {
			t.Errorf("%q is not refused", garbage)
		}
	}
	if _, err := new(Response).Parse([]byte("S"), Limits{}, GET); err == nil {
		t.Error("a response that begins like SSH is not refused")
	}
}
