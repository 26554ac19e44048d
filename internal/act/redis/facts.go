package redis

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// facts are what was seen last of a running instance.
type facts struct {
	known      bool
	master     bool // in Redis' words
	host, port string
	linkUp     bool
	syncing    bool // a full copy of the upstream's data is under way
	loading    bool
	offset     uint64
	replid     string
	replid2    string
	second     uint64 // offset up to which replid2 is its history
	backlog    uint64 // the first byte that it can still send
	downs      []downstream
	copied     int64 // percent of the full copy
	logOn      bool  // the append-only file is in use
	rewriting  bool
	writesFail string
	origin     origin
	originText string
}

type downstream struct {
	address string
	offset  uint64
}

// detached says that it follows nobody.
func (f facts) detached() bool { return f.host == nowhereHost && f.port == nowherePort }

func (f facts) upstream() string { return net.JoinHostPort(f.host, f.port) }

// look asks for everything at once.
func (k *conn) look(ctx context.Context) (facts, error) {
	answers, err := k.all(ctx, []string{"INFO", "replication"}, []string{"INFO", "persistence"}, []string{"GET", keyOrigin})
	if err != nil {
		return facts{}, err
	}
	for _, a := range answers[:2] {
		if a.err != nil {
			return facts{}, a.err
		}
	}
	f := parseInfo(answers[0].text + answers[1].text)
	if answers[2].err == nil { // it is refused while data is loaded
		f.originText = answers[2].text
		f.origin, _ = parseOrigin(f.originText)
	}
	if f.replid == "" {
		return facts{}, errors.New("it does not say what it replicates: is it Redis?")
	}
	return f, nil
}

// parseInfo reads INFO's lines of name:value.
func parseInfo(text string) facts {
	v := map[string]string{}
	f := facts{known: true}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		if !ok {
			continue
		}
		v[name] = value
		if n, isStandby := strings.CutPrefix(name, "slave"); isStandby && n != "" && n[0] >= '0' && n[0] <= '9' {
			d := fields(value)
			if d["state"] == "online" {
				f.downs = append(f.downs, downstream{net.JoinHostPort(d["ip"], d["port"]), number(d["offset"])})
			}
		}
	}
	f.master = v["role"] == "master"
	f.host, f.port = v["master_host"], v["master_port"]
	f.linkUp, f.syncing, f.loading = v["master_link_status"] == "up", v["master_sync_in_progress"] == "1", v["loading"] == "1" || v["async_loading"] == "1"
	f.offset, f.second, f.backlog = number(v["master_repl_offset"]), number(v["second_repl_offset"]), number(v["repl_backlog_first_byte_offset"])
	f.replid, f.replid2 = v["master_replid"], v["master_replid2"]
	f.logOn, f.rewriting = v["aof_enabled"] == "1", v["aof_rewrite_in_progress"] == "1" || v["aof_rewrite_scheduled"] == "1"
	if percent, err := strconv.ParseFloat(v["master_sync_perc"], 64); err == nil {
		f.copied = int64(percent)
	}
	switch {
	case v["aof_last_bgrewrite_status"] == "err":
		f.writesFail = "the append-only file could not be rewritten: see its log"
	case v["aof_last_write_status"] == "err":
		f.writesFail = "the append-only file cannot be written: see its log"
	}
	return f
}

func fields(text string) map[string]string {
	out := map[string]string{}
	for _, part := range strings.Split(text, ",") {
		name, value, _ := strings.Cut(part, "=")
		out[name] = value
	}
	return out
}

// number reads an offset; what has none, such as -1, is 0.
func number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// A looker is the connection that the own instance is asked on. One at a time uses it.
type looker struct {
	mu   sync.Mutex
	conn *conn
}

func (l *looker) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		l.conn.close()
		l.conn = nil
	}
}

// ask runs do on the kept connection, opened when there is none.
func (e *Engine) ask(ctx context.Context, timeout time.Duration, do func(context.Context, *conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	e.look.mu.Lock()
	defer e.look.mu.Unlock()
	if e.look.conn == nil {
		password, err := readPassword(e.o.Password)
		if err != nil {
			return err
		}
		if e.look.conn, err = dial(ctx, e.address(), password); err != nil {
			e.look.conn = nil
			return err
		}
	}
	err := do(ctx, e.look.conn)
	var r refusal
	if err != nil && !errors.As(err, &r) {
		e.look.conn.close()
		e.look.conn = nil
	}
	return err
}

// lookAt asks a peer's instance.
func (e *Engine) lookAt(ctx context.Context, address string) (facts, error) {
	ctx, cancel := context.WithTimeout(ctx, e.o.QueryTimeout)
	defer cancel()
	password, err := readPassword(e.o.Password)
	if err != nil {
		return facts{}, err
	}
	k, err := dial(ctx, address, password)
	if err != nil {
		return facts{}, err
	}
	defer k.close()
	return k.look(ctx)
}
