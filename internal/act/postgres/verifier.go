package postgres

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"

	"fmt"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Verifiers reads what a service's instances keep of roles' passwords, as the superuser. It keeps a connection for a while, to the
// instance that it last asked.
type Verifiers struct {
	Superuser string // postgres where empty
	Password  string // file with the superuser's password

	mu      sync.Mutex
	conn    *pgx.Conn
	address string
	idle    *time.Timer
}

// verifierIdle is for how long the connection is kept without use.
const verifierIdle = time.Minute

// Lookup returns pg_authid.rolpassword of a role as the instance at address has it; empty where there is no such role, or it has no
// password. seed is secret, and the same wherever the superuser's password is.
func (v *Verifiers) Lookup(ctx context.Context, address, role string) (password string, seed []byte, err error) {
	secret, err := readPassword(v.Password)
	if err != nil {
		return "", nil, err
	}
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte("backstay: salts of unknown roles"))
	v.mu.Lock()
	defer v.mu.Unlock()
	for tries := 0; ; tries++ {
		kept := v.conn != nil && v.address == address
		if err = v.connect(ctx, address, secret); err == nil {
			err = v.conn.QueryRow(ctx, "SELECT coalesce((SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = $1 AND rolcanlogin), '')", role).Scan(&password)
		}
		if err == nil {
			return password, h.Sum(nil), nil
		}
		v.close()
		if !kept || ctx.Err() != nil { // a connection that was kept may have been dead for long
			return "", nil, fmt.Errorf("password of a role, asked at %s: %w", address, err)
		}
	}
}

// connect makes sure that there is a connection to the address. The caller holds the mutex.
func (v *Verifiers) connect(ctx context.Context, address, secret string) error {
	if v.idle == nil {
		v.idle = time.AfterFunc(verifierIdle, v.Close)
	}
	v.idle.Reset(verifierIdle)
	if v.conn != nil && v.address == address && !v.conn.IsClosed() {
		return nil
	}
	v.close()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	name := v.Superuser
	if name == "" {
		name = "postgres"
	}
	cfg, err := dialConfig(map[string]string{"host": host, "port": port, "user": name, "dbname": "postgres", "password": secret, "sslmode": "prefer"}, 2*time.Second)
	if err != nil {
		return err
	}
	cfg.RuntimeParams["application_name"] = "backstay logins"
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	if v.conn, err = pgx.ConnectConfig(ctx, cfg); err != nil {
		v.conn = nil
		return err
	}
	v.address = address
	return nil
}

func (v *Verifiers) close() {
	if v.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = v.conn.Close(ctx) // it may be broken
		v.conn = nil
	}
}

// Close lets the connection go; the next look opens another.
func (v *Verifiers) Close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.close()
}
