package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"

	"github.com/backstay/backstay/internal/base/config"
)

// maxExpect is how much of what comes back is looked at.
const maxExpect = 4 << 10

// tcp connects, sends what is to be sent, and reads until what comes back matches.
func (p *prober) tcp(ctx context.Context, t Target, c config.TCPCheck) error {
	send, err := c.Bytes()
	if err != nil {
		return wrong("send", err)
	}
	conn, err := dial(ctx, t)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer expire(ctx, conn)()
	if len(send) > 0 {
		if _, err := conn.Write(send); err != nil {
			return err
		}
	}
	if c.Expect == "" {
		return nil
	}
	return p.expect(conn, c.Expect)
}

func (p *prober) expect(conn net.Conn, pattern string) error {
	re, err := p.patterns.get(pattern)
	if err != nil {
		return wrong("expect", err)
	}
	got := make([]byte, 0, maxExpect)
	for len(got) < maxExpect {
		n, err := conn.Read(got[len(got):maxExpect])
		got = got[:len(got)+n]
		if re.Match(got) {
			return nil
		}
		if errors.Is(err, io.EOF) && len(got) > 0 {
			break
		}
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("the answer does not match %s: %s", pattern, strconv.Quote(cut(string(got), 40)))
}
