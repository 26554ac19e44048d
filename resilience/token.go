package resilience

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// TokenKey is a secret that signs tokens, with the name by which tokens refer to it.
type TokenKey struct {
	ID     string // 1 to 16 letters, digits, - or _
	Secret []byte // 16 bytes at least; 32 random ones are right
}

// TokenOptions says which tokens are good.
type TokenOptions struct {
	// Keys are those in use: the first signs, all verify. To change the key without refusing anybody: add the new one at the
	// end everywhere, then put it first everywhere, and drop the old one when TTL has passed.
	Keys []TokenKey
	TTL  time.Duration // how long a token is good for; 1h where not given
}

// Tokens signs priorities and verifies them, so that a service can take them from who is not to be trusted: a browser that was
// given one when its user logged in, or a service that passes on what it was told. A token says class, level and until when,
// and not who: whoever holds it has its priority.
//
// It is text, fit for a header or a cookie: key.class.level.expiry.signature, where expiry is in seconds since 1970 and the
// signature is HMAC-SHA256 (RFC 2104) of what stands before it, in base64url. Who verifies looks at nothing but the length and
// the key before the signature is proved good, in constant time.
type Tokens struct{ keys atomic.Pointer[tokenKeys] }

// tokenKeys is the keys in force.
type tokenKeys struct {
	ttl     time.Duration
	signers []*signer
}

// signer makes signatures with one key. The states of the hash are kept for use again.
type signer struct {
	id    string
	spare sync.Pool // of *mac
}

// mac is one signature in the making.
type mac struct {
	hash hash.Hash
	text [longestToken]byte
	sum  [sha256.Size]byte
	sent [sha256.Size]byte
}

const (
	tokenPurpose   = "backstay priority 1\n" // signed with it: the key's other signatures are no tokens
	longestKeyID   = 16
	shortestSecret = 16
	longestToken   = 96
	signatureText  = 43 // of 32 bytes, without padding
)

// The ways in which a token is no good. All wrap ErrToken.
var (
	ErrToken          = errors.New("the priority token is no good")
	ErrTokenMalformed = fmt.Errorf("%w: it is malformed", ErrToken)
	ErrTokenKey       = fmt.Errorf("%w: its key is not known here: was it withdrawn too early, or not distributed yet?", ErrToken)
	ErrTokenSignature = fmt.Errorf("%w: its signature is wrong", ErrToken)
	ErrTokenExpired   = fmt.Errorf("%w: it has expired", ErrToken)
)

// NewTokens makes a signer and verifier, or says what is wrong with its keys.
func NewTokens(o TokenOptions) (*Tokens, error) {
	t := &Tokens{}
	if err := t.Update(o); err != nil {
		return nil, err
	}
	return t, nil
}

// Update puts other keys in force, or says what is wrong with them and changes nothing.
func (t *Tokens) Update(o TokenOptions) error {
	if len(o.Keys) == 0 {
		return errors.New("priority tokens: no key is given: name one, with a secret of 32 random bytes")
	}
	k := &tokenKeys{ttl: orDefault(o.TTL, time.Hour)}
	for _, key := range o.Keys {
		if err := key.validate(); err != nil {
			return err
		}
		if k.find(key.ID) != nil {
			return fmt.Errorf("priority tokens: key %q is given twice: each key needs an id of its own", key.ID)
		}
		secret := append([]byte(nil), key.Secret...)
		s := &signer{id: key.ID}
		s.spare.New = func() any { return &mac{hash: hmac.New(sha256.New, secret)} }
		k.signers = append(k.signers, s)
	}
	t.keys.Store(k)
	return nil
}

func (k TokenKey) validate() error {
	wrong := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}
	if k.ID == "" || len(k.ID) > longestKeyID || strings.ContainsFunc(k.ID, wrong) {
		return fmt.Errorf("priority tokens: key id %q: use 1 to %d letters, digits, - or _", k.ID, longestKeyID)
	}
	if len(k.Secret) < shortestSecret {
		return fmt.Errorf("priority tokens: the secret of key %q has %d bytes: use %d at least, 32 random ones are right", k.ID, len(k.Secret), shortestSecret)
	}
	return nil
}

func (k *tokenKeys) find(id string) *signer {
	for _, s := range k.signers {
		if s.id == id {
			return s
		}
	}
	return nil
}

// Sign makes a token for a priority.
func (t *Tokens) Sign(p Priority) string {
	k := t.keys.Load()
	p = min(p, priorities-1)
	s := k.signers[0]
	m := s.spare.Get().(*mac)
	defer s.spare.Put(m)
	b := append(m.text[:0], s.id...)
	b = strconv.AppendUint(append(b, '.'), uint64(p>>7), 10)
	b = strconv.AppendUint(append(b, '.'), uint64(p&127), 10)
	b = strconv.AppendInt(append(b, '.'), time.Now().Add(k.ttl).Unix(), 10)
	m.sign(b)
	return string(base64.RawURLEncoding.AppendEncode(append(b, '.'), m.sum[:]))
}

// sign puts the signature of b into sum.
func (m *mac) sign(b []byte) {
	m.hash.Reset()
	copy(m.sent[:], tokenPurpose) // written from here, as a string would be copied to the heap
	m.hash.Write(m.sent[:len(tokenPurpose)])
	m.hash.Write(b)
	m.hash.Sum(m.sum[:0])
}

// Verify gives a token's priority. Errors wrap ErrToken; then the priority is Normal.
func (t *Tokens) Verify(token string) (Priority, error) {
	end := len(token) - signatureText - 1
	id, _, ok := strings.Cut(token, ".")
	if len(token) > longestToken || end <= len(id) || !ok || token[end] != '.' {
		return Normal, ErrTokenMalformed
	}
	s := t.keys.Load().find(id)
	if s == nil {
		return Normal, ErrTokenKey
	}
	if !s.proves(token, end) {
		return Normal, ErrTokenSignature
	}
	return readToken(token[len(id)+1 : end])
}

// proves says whether the signature is that of what stands before it.
func (s *signer) proves(token string, end int) bool {
	m := s.spare.Get().(*mac)
	defer s.spare.Put(m)
	n := copy(m.text[:], token)
	m.sign(m.text[:end])
	decoded, err := base64.RawURLEncoding.Strict().Decode(m.sent[:], m.text[end+1:n])
	return err == nil && decoded == len(m.sent) && hmac.Equal(m.sent[:], m.sum[:])
}

// readToken reads class.level.expiry, which a key's owner has signed.
func readToken(s string) (Priority, error) {
	class, rest, _ := strings.Cut(s, ".")
	level, expiry, _ := strings.Cut(rest, ".")
	c, err1 := strconv.ParseUint(class, 10, 2)
	l, err2 := strconv.ParseUint(level, 10, 7)
	until, err3 := strconv.ParseInt(expiry, 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return Normal, ErrTokenMalformed
	}
	if time.Now().Unix() >= until {
		return Normal, ErrTokenExpired
	}
	return Priority(c<<7 | l), nil
}

type tokenKey struct{}

// WithToken keeps a token that was verified, so that calls under this context pass it on.
func WithToken(ctx context.Context, token string) context.Context {
	return context.WithValue(ctx, tokenKey{}, token)
}

// TokenOf is the token to pass on; "" where there is none.
func TokenOf(ctx context.Context) string {
	token, _ := ctx.Value(tokenKey{}).(string)
	return token
}
