package resilience

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func tokens(t testing.TB, ids ...string) *Tokens {
	t.Helper()
	tokens, err := NewTokens(TokenOptions{Keys: tokenSecrets(ids...), TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func tokenSecrets(ids ...string) (keys []TokenKey) {
	for _, id := range ids {
		keys = append(keys, TokenKey{id, bytes.Repeat([]byte(id), 32)})
	}
	return keys
}

func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // at 2000-01-01, so that tokens are known
		signed := tokens(t, "k1").Sign(Critical + 17)
		if want := "k1.2.17.946684860."; !strings.HasPrefix(signed, want) || len(signed) != len(want)+signatureText {
			t.Fatalf("signed %s, want %s…", signed, want)
		}
		highest := tokens(t, "k1").Sign(60000)
		tests := []struct {
			name   string
			keys   []string
			change func(string) string
			want   error
		}{
			{"as it was", []string{"k1"}, nil, nil},
			{"under an older key", []string{"k2", "k1"}, nil, nil},
			{"under a key that is gone", []string{"k2"}, nil, ErrTokenKey},
			{"a higher class", []string{"k1"}, func(s string) string { return strings.Replace(s, ".2.", ".3.", 1) }, ErrTokenSignature},
			{"a later end", []string{"k1"}, func(s string) string { return strings.Replace(s, ".9", ".99", 1) }, ErrTokenSignature},
			{"another key's", []string{"k1", "k2"}, func(s string) string { return strings.Replace(s, "k1", "k2", 1) }, ErrTokenSignature},
			{"another signature", []string{"k1"}, func(s string) string { return s[:len(s)-43] + highest[len(highest)-43:] }, ErrTokenSignature},
			{"bits after the signature", []string{"k1"}, func(s string) string { return s[:len(s)-1] + string(s[len(s)-1]+1) }, ErrTokenSignature},
			{"no signature", []string{"k1"}, func(s string) string { return s[:len(s)-44] }, ErrTokenMalformed},
			{"cut", []string{"k1"}, func(s string) string { return s[:len(s)-1] }, ErrTokenMalformed},
			{"empty", []string{"k1"}, func(string) string { return "" }, ErrTokenMalformed},
			{"a signature alone", []string{"k1"}, func(s string) string { return s[len(s)-44:] }, ErrTokenMalformed},
			{"long", []string{"k1"}, func(s string) string { return s + strings.Repeat("x", 100) }, ErrTokenMalformed},
			{"no base64", []string{"k1"}, func(s string) string { return s[:len(s)-43] + strings.Repeat("!", 43) }, ErrTokenSignature},
		}
		for _, tt := range tests {
			token := signed
			if tt.change != nil {
				token = tt.change(token)
			}
			want := Normal
			if tt.want == nil {
				want = Critical + 17
			}
			if p, err := tokens(t, tt.keys...).Verify(token); p != want || !errors.Is(err, tt.want) || (err != nil && !errors.Is(err, ErrToken)) {
				t.Errorf("%s: %d, %v; want %d, %v", tt.name, p, err, want, tt.want)
			}
		}
		if p, err := tokens(t, "k1").Verify(highest); p != CriticalPlus+127 || err != nil {
			t.Errorf("the highest is %d, %v", p, err)
		}
		time.Sleep(time.Minute - time.Nanosecond)
		if _, err := tokens(t, "k1").Verify(signed); err != nil {
			t.Error("a moment before its end:", err)
		}
		time.Sleep(time.Nanosecond)
		if _, err := tokens(t, "k1").Verify(signed); !errors.Is(err, ErrTokenExpired) {
			t.Error("at its end:", err)
		}
	})
}

// TestTokensRotate changes the key as the documentation says while two nodes learn of each step at different times.
func TestTokensRotate(t *testing.T) {
	a, b := tokens(t, "old"), tokens(t, "old")
	agree := func(step string) {
		t.Helper()
		for _, from := range []*Tokens{a, b} {
			for _, to := range []*Tokens{a, b} {
				if _, err := to.Verify(from.Sign(Critical)); err != nil {
					t.Errorf("%s: %v", step, err)
				}
			}
		}
	}
	last := a.Sign(Critical)
	for _, keys := range [][]string{{"old", "new"}, {"new", "old"}} {
		for _, node := range []*Tokens{a, b} {
			if err := node.Update(TokenOptions{Keys: tokenSecrets(keys...)}); err != nil {
				t.Fatal(err)
			}
			agree(strings.Join(keys, ", "))
		}
	}
	if _, err := b.Verify(last); err != nil {
		t.Error("a token from before:", err)
	}
}

func TestNewTokensRefuses(t *testing.T) {
	good := bytes.Repeat([]byte("x"), 32)
	tests := map[string][]TokenKey{
		"no key is given":    nil,
		"32 random ones":     {{"k", []byte("short")}},
		"letters, digits":    {{"a.b", good}},
		`key id ""`:          {{"", good}},
		"is given twice":     {{"k", good}, {"k", good}},
		"use 1 to 16 letter": {{strings.Repeat("k", 17), good}},
	}
	for want, keys := range tests {
		if _, err := NewTokens(TokenOptions{Keys: keys}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want something about %q", err, want)
		}
	}
	kept := tokens(t, "k1")
	if kept.Update(TokenOptions{}) == nil || kept.Sign(Normal) == "" {
		t.Error("a refused update changed something")
	}
}

func TestTokensAllocateLittle(t *testing.T) {
	k := tokens(t, "k1")
	token := k.Sign(Critical)
	forged := strings.Replace(token, ".2.", ".3.", 1)
	for name, op := range map[string]struct {
		op   func()
		most float64
	}{
		"sign":   {func() { k.Sign(Critical) }, 1}, // the token
		"verify": {func() { _, _ = k.Verify(token) }, 0},
		"forged": {func() { _, _ = k.Verify(forged) }, 0},
		"junk":   {func() { _, _ = k.Verify("junk") }, 0},
	} {
		if n := testing.AllocsPerRun(500, op.op); n > op.most && !raceEnabled {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

// FuzzTokens: whatever comes, Verify never panics, and what it takes for good is what Sign would have made.
func FuzzTokens(f *testing.F) {
	k := tokens(f, "k1", "k2")
	f.Add(k.Sign(Critical))
	f.Add(tokens(f, "k2").Sign(CriticalPlus))
	f.Add("k1.2.17.946684860." + strings.Repeat("A", 43))
	f.Add("....")
	f.Fuzz(func(t *testing.T, token string) {
		p, err := k.Verify(token)
		if err != nil {
			if p != Normal || !errors.Is(err, ErrToken) {
				t.Errorf("%d, %v", p, err)
			}
			return
		}
		again := k.keys.Load().find(token[:2])
		if again == nil || !again.proves(token, len(token)-44) || p >= priorities {
			t.Errorf("took %q for %d", token, p)
		}
	})
}

func BenchmarkTokens(b *testing.B) {
	k := tokens(b, "k1")
	token := k.Sign(Critical)
	b.Run("sign", func(b *testing.B) { parallel(b, func() { k.Sign(Critical) }) })
	b.Run("verify", func(b *testing.B) { parallel(b, func() { _, _ = k.Verify(token) }) })
}
