package httpproxy

import (
	"net/http"
	"testing"

	"github.com/backstay/backstay/resilience"
)

// TestPriorityTokens: who is not trusted has the priority that a token proves, and no other.
func TestPriorityTokens(t *testing.T) {
	const yaml = `
priority_tokens: {keys: [{id: a, secret: "0123456789abcdef0123456789abcdef"}]}
services:
  - name: web
    members: [{address: %q}]
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web, priority: low}]
`
	var got http.Header
	o := newWebServer(t, func(w http.ResponseWriter, r *http.Request) { got = r.Header })
	k := start(t, yaml, o.address())
	sign := func(secret string) string {
		tokens, err := resilience.NewTokens(resilience.TokenOptions{Keys: []resilience.TokenKey{{ID: "a", Secret: []byte(secret)}}})
		if err != nil {
			t.Fatal(err)
		}
		return tokens.Sign(resilience.Critical + 5)
	}
	k.ask("GET", "/", TokenHeader, sign("0123456789abcdef0123456789abcdef"), PriorityHeader, "3.1")
	if p := got.Get(PriorityHeader); p != "2.5" || got.Get(TokenHeader) == "" {
		t.Errorf("a good token gives %q", p)
	}
	k.ask("GET", "/", TokenHeader, sign("another secret of that length!!!"))
	if p := got.Get(PriorityHeader); p[:2] != "0." {
		t.Errorf("a forged token gives %q", p)
	}
}
