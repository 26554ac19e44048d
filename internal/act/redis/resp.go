package redis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// A refusal is an error that Redis answers, such as "READONLY You can't write against a read only replica."
type refusal string

func (r refusal) Error() string { return string(r) }

// refused says whether an error is Redis' own of that kind.
func refused(err error, kind string) bool {
	var r refusal
	return errors.As(err, &r) && strings.HasPrefix(string(r), kind)
}

// A conn speaks RESP2 (redis.io/docs/reference/protocol-spec), as much of it as the engine needs: commands as arrays of
// bulk strings, any number of them at once.
type conn struct {
	c net.Conn
	r *bufio.Reader
}

// dial connects and gives the password, where there is one.
func dial(ctx context.Context, address, password string) (*conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	k := &conn{c: c, r: bufio.NewReaderSize(c, 16<<10)}
	if password != "" {
		if _, err := k.do(ctx, "AUTH", password); err != nil {
			c.Close()
			return nil, fmt.Errorf("the password is not taken: %w", err)
		}
	}
	return k, nil
}

func (k *conn) close() { _ = k.c.Close() }

// do sends one command and returns its answer; ctx must have a deadline, or be one that ends.
func (k *conn) do(ctx context.Context, words ...string) (string, error) {
	answers, err := k.all(ctx, words)
	if err != nil {
		return "", err
	}
	return answers[0].text, answers[0].err
}

// An answer is a text, or why there is none. Of an array the text is empty and err the first refusal in it.
type answer struct {
	text string
	err  error
}

// all sends commands in one write, so that Redis performs them with nothing in between, and returns their answers.
func (k *conn) all(ctx context.Context, commands ...[]string) ([]answer, error) {
	deadline, _ := ctx.Deadline()
	if err := k.c.SetDeadline(deadline); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = k.c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var b strings.Builder
	for _, words := range commands {
		fmt.Fprintf(&b, "*%d\r\n", len(words))
		for _, w := range words {
			fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
		}
	}
	if _, err := io.WriteString(k.c, b.String()); err != nil {
		return nil, k.broken(ctx, err)
	}
	answers := make([]answer, len(commands))
	for i := range answers {
		text, err := k.read(0)
		var r refusal
		if err != nil && !errors.As(err, &r) {
			return nil, k.broken(ctx, err)
		}
		answers[i] = answer{text, err}
	}
	return answers, nil
}

func (k *conn) broken(ctx context.Context, err error) error {
	k.close()
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	if ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("it did not answer in time")
	}
	return err
}

const mostBulk = 64 << 20

// read reads one value. Arrays are read through; what matters of them is a refusal.
func (k *conn) read(depth int) (string, error) {
	line, err := k.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" || depth > 8 {
		return "", errors.New("the answer is not RESP")
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+', ':':
		return rest, nil
	case '-':
		return "", refusal(rest)
	case '$', '*':
	default:
		return "", fmt.Errorf("the answer is not RESP: %q", line)
	}
	n, err := strconv.Atoi(rest)
	if err != nil || n > mostBulk {
		return "", fmt.Errorf("the answer is not RESP: %q", line)
	}
	if n < 0 {
		return "", nil
	}
	if kind == '$' {
		text := make([]byte, n+2)
		_, err := io.ReadFull(k.r, text)
		return string(text[:n]), err
	}
	var first error
	for range n {
		_, err := k.read(depth + 1)
		var r refusal
		if err != nil && !errors.As(err, &r) {
			return "", err
		}
		if first == nil {
			first = err
		}
	}
	return "", first
}

// readPassword reads a password's file; empty where there is none.
func readPassword(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("password: %w", err)
	}
	p := strings.TrimSpace(string(text))
	if p == "" || strings.ContainsAny(p, " \t\r\n\"'\\") {
		return "", fmt.Errorf("password: %s has to hold one word without quotes", path)
	}
	return p, nil
}
