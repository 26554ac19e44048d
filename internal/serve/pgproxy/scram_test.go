package pgproxy

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"testing"
)

// testKeys are the stored and the server key of a password, as in pg_authid.
func testKeys(password string, salt []byte, iterations int) string {
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		panic(err)
	}
	stored := sha256.Sum256(sum(salted, "Client Key"))
	return base64.StdEncoding.EncodeToString(stored[:]) + ":" + base64.StdEncoding.EncodeToString(sum(salted, "Server Key"))
}

// The exchange of RFC 7677, section 3, but for the nonce of the server.
func TestScramProofLogsInAgain(t *testing.T) {
	v, ok := parseVerifier("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$" + testKeys("pencil", salt(t), 4096))
	if !ok {
		t.Fatal("the verifier is not read")
	}
	c, err := newChallenge(v, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
	if err != nil {
		t.Fatal(err)
	}
	client := proof{v: v, key: clientKey("pencil", t)}
	client.nonce = "rOprNGfwEbeRWgbNEkqO"
	c.bare = "n=,r=" + client.nonce
	last, err := client.last(c.own)
	if err != nil {
		t.Fatal(err)
	}
	key, final, err := c.check(last)
	if err != nil || client.check(final) != nil {
		t.Fatal(err, final)
	}
	again := proof{v: v, key: key}
	c2, err := newChallenge(v, again.first())
	if err != nil {
		t.Fatal(err)
	}
	if last, err = again.last(c2.own); err != nil {
		t.Fatal(err)
	}
	if _, _, err = c2.check(last); err != nil {
		t.Errorf("the key of a client's proof does not log in: %v", err)
	}
	wrong := proof{v: v, key: clientKey("pencils", t)}
	c3, _ := newChallenge(v, wrong.first())
	last, _ = wrong.last(c3.own)
	if _, _, err := c3.check(last); err != errWrongPassword {
		t.Errorf("a wrong password: %v", err)
	}
}

func salt(t *testing.T) []byte {
	b, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func clientKey(password string, t *testing.T) []byte {
	salted, err := pbkdf2.Key(sha256.New, password, salt(t), 4096, sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	return sum(salted, "Client Key")
}

func TestScramRefuses(t *testing.T) {
	for _, first := range []string{"", "n,,", "p=tls-server-end-point,,n=,r=x", "n,a=other,n=,r=x", "n,,n=,r=", "x,,n=,r=1"} {
		if _, err := newChallenge(verifier{}, first); err == nil {
			t.Errorf("%q is taken", first)
		}
	}
	v := mockVerifier([]byte("seed"), "nobody")
	if a, b := mockVerifier([]byte("seed"), "nobody"), mockVerifier([]byte("seed"), "somebody"); string(a.salt) != string(v.salt) || string(b.salt) == string(v.salt) || len(v.salt) != 16 {
		t.Error("the salt of an unknown role is not its own, and the same each time")
	}
	c, _ := newChallenge(v, "y,,n=,r=abc")
	for _, last := range []string{"", "c=biws,r=" + c.nonce + ",p=", "c=eSws,r=" + c.nonce + ",p=AAAA", "c=eSws,r=abc,p=" + base64.StdEncoding.EncodeToString(make([]byte, 32))} {
		if _, _, err := c.check(last); err != errScram {
			t.Errorf("%q: %v", last, err)
		}
	}
	for _, text := range []string{"", "md5abc", "SCRAM-SHA-256$x:AA==$AA==:AA==", "SCRAM-SHA-256$4096:AA==$AA=="} {
		if _, ok := parseVerifier(text); ok {
			t.Errorf("%q is a verifier", text)
		}
	}
}
