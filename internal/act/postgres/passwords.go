package postgres

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// setSuperuser gives the superuser the password of its file. That of a cluster which was adopted stays, where it has one.
func (e *Engine) setSuperuser(ctx context.Context, c *pgx.Conn, password string) error {
	if e.o.DataPath != filepath.Join(e.o.DataDir, "pgdata") {
		var has bool
		err := c.QueryRow(ctx, "SELECT rolpassword IS NOT NULL FROM pg_authid WHERE rolname = "+literal(e.o.Superuser)).Scan(&has)
		if err != nil || has {
			return err
		}
	}
	return setPassword(ctx, c, e.o.Superuser, password)
}

// setPassword gives a role a password that it does not have yet. One that it has stays as it is kept: another salt would end
// the sessions that listeners keep for the role.
func setPassword(ctx context.Context, c *pgx.Conn, role, password string) error {
	var kept string
	if err := c.QueryRow(ctx, "SELECT coalesce(rolpassword, '') FROM pg_authid WHERE rolname = "+literal(role)).Scan(&kept); err != nil {
		return err
	}
	if proves(kept, password) {
		return nil
	}
	_, err := c.Exec(ctx, fmt.Sprintf("ALTER ROLE %s WITH PASSWORD %s", hbaWord(role), literal(password)))
	return err
}

// proves tells whether a verifier, SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey, is that of the password (RFC 5802, 3).
func proves(verifier, password string) bool {
	parts := strings.FieldsFunc(verifier, func(r rune) bool { return r == '$' || r == ':' })
	if len(parts) != 5 || parts[0] != "SCRAM-SHA-256" {
		return false
	}
	iterations, err1 := strconv.Atoi(parts[1])
	salt, err2 := base64.StdEncoding.DecodeString(parts[2])
	stored, err3 := base64.StdEncoding.DecodeString(parts[3])
	if errors.Join(err1, err2, err3) != nil || iterations < 1 || iterations > 1<<20 {
		return false
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return false
	}
	client := hmac.New(sha256.New, salted)
	client.Write([]byte("Client Key"))
	key := sha256.Sum256(client.Sum(nil))
	return hmac.Equal(key[:], stored)
}
