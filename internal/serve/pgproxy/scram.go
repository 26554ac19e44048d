package pgproxy

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// mechanism is the only one that is offered. Binding to the channel is not: the client's TLS ends here, the server's elsewhere.
const mechanism = "SCRAM-SHA-256"

// verifier is what a server keeps of a password (RFC 5802, section 3).
type verifier struct {
	iterations           int
	salt                 []byte
	storedKey, serverKey []byte
}

// parseVerifier reads pg_authid.rolpassword; false for anything but SCRAM.
func parseVerifier(text string) (verifier, bool) {
	var v verifier
	rest, ok := strings.CutPrefix(text, mechanism+"$")
	if !ok {
		return v, false
	}
	cost, keys, ok := strings.Cut(rest, "$")
	count, salt, ok2 := strings.Cut(cost, ":")
	stored, server, ok3 := strings.Cut(keys, ":")
	if !ok || !ok2 || !ok3 {
		return v, false
	}
	var errs [4]error
	v.iterations, errs[0] = strconv.Atoi(count)
	v.salt, errs[1] = base64.StdEncoding.DecodeString(salt)
	v.storedKey, errs[2] = base64.StdEncoding.DecodeString(stored)
	v.serverKey, errs[3] = base64.StdEncoding.DecodeString(server)
	good := errors.Join(errs[:]...) == nil && v.iterations > 0 && len(v.storedKey) == sha256.Size && len(v.serverKey) == sha256.Size
	return v, good
}

// mockVerifier is that of a role that has no password, or does not exist: the same each time, and no password is right.
func mockVerifier(seed []byte, role string) verifier {
	part := func(what string) []byte { return sum(seed, what+"\x00"+role) }
	return verifier{iterations: 4096, salt: part("salt")[:16], storedKey: part("stored"), serverKey: part("server")}
}

func sum(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func nonce() string {
	var raw [18]byte
	_, _ = rand.Read(raw[:]) // never fails
	return base64.StdEncoding.EncodeToString(raw[:])
}

var (
	errWrongPassword = errors.New("the password is wrong")
	errScram         = errors.New("malformed SCRAM message")
)

// challenge is the server's part of the exchange with a client.
type challenge struct {
	v                 verifier
	header, bare, own string // the client's gs2 header and first message; the server's first
	nonce             string
}

// newChallenge answers a client's first message.
func newChallenge(v verifier, first string) (*challenge, error) {
	parts := strings.SplitN(first, ",", 3)
	if len(parts) < 3 || parts[0] != "n" && parts[0] != "y" || parts[1] != "" {
		return nil, errScram
	}
	c := &challenge{v: v, header: parts[0] + ",,", bare: parts[2]}
	_, theirs, ok := strings.Cut(parts[2], ",r=")
	theirs, _, _ = strings.Cut(theirs, ",")
	if !ok || theirs == "" || !strings.HasPrefix(parts[2], "n=") {
		return nil, errScram
	}
	c.nonce = theirs + nonce()
	c.own = fmt.Sprintf("r=%s,s=%s,i=%d", c.nonce, base64.StdEncoding.EncodeToString(v.salt), v.iterations)
	return c, nil
}

// check holds the client's last message against the verifier. It returns the key that proves the password to any server with the same
// verifier, and the message that ends the exchange. Errors: errWrongPassword, errScram.
func (c *challenge) check(last string) (clientKey []byte, final string, err error) {
	without, proof, ok := strings.Cut(last, ",p=")
	sent, err := base64.StdEncoding.DecodeString(proof)
	if !ok || err != nil || len(sent) != sha256.Size || without != "c="+base64.StdEncoding.EncodeToString([]byte(c.header))+",r="+c.nonce {
		return nil, "", errScram
	}
	message := c.bare + "," + c.own + "," + without
	subtle.XORBytes(sent, sent, sum(c.v.storedKey, message))
	if hash := sha256.Sum256(sent); subtle.ConstantTimeCompare(hash[:], c.v.storedKey) != 1 {
		return nil, "", errWrongPassword
	}
	return sent, "v=" + base64.StdEncoding.EncodeToString(sum(c.v.serverKey, message)), nil
}

// proof is the client's part of the exchange with a server, with the key instead of the password.
type proof struct {
	v                verifier
	key              []byte
	nonce, signature string
}

func (p *proof) first() string {
	p.nonce = nonce()
	return "n,,n=,r=" + p.nonce
}

// errStale says that the server has another verifier than the one that the key is for.
var errStale = errors.New("the password was changed")

// last answers the server's first message.
func (p *proof) last(first string) (string, error) {
	fields := strings.Split(first, ",")
	if len(fields) < 3 || !strings.HasPrefix(fields[0], "r="+p.nonce) {
		return "", errScram
	}
	if fields[1] != "s="+base64.StdEncoding.EncodeToString(p.v.salt) || fields[2] != "i="+strconv.Itoa(p.v.iterations) {
		return "", errStale
	}
	without := "c=biws," + fields[0]
	message := "n=,r=" + p.nonce + "," + first + "," + without
	signed := sum(p.v.storedKey, message)
	subtle.XORBytes(signed, signed, p.key)
	p.signature = "v=" + base64.StdEncoding.EncodeToString(sum(p.v.serverKey, message))
	return without + ",p=" + base64.StdEncoding.EncodeToString(signed), nil
}

// check holds the server's last message against the verifier.
func (p *proof) check(final string) error {
	if subtle.ConstantTimeCompare([]byte(final), []byte(p.signature)) != 1 {
		return errors.New("the server does not know the password's verifier")
	}
	return nil
}
