package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// patroni is Patroni with etcd and HAProxy on every node, in synchronous mode, set up as its documentation recommends.
type patroni struct {
	patroniTimings
	nodes []*node
}

// patroniTimings are what its operators tune, of Patroni, etcd, HAProxy and PostgreSQL.
type patroniTimings struct {
	ttl, loopWait, retry int    // seconds; loop_wait + 2 × retry_timeout ≤ ttl
	startTimeout         string // primary_start_timeout
	heartbeat, election  int    // etcd's, milliseconds
	check                string // HAProxy's, of each server
	timeouts             string // HAProxy's
	parameters           string // PostgreSQL's
	reaction, patience   time.Duration
}

var (
	patroniTight = patroniTimings{
		ttl: 5, loopWait: 1, retry: 2, startTimeout: "0", heartbeat: 25, election: 250,
		check:      "inter 250ms fastinter 100ms downinter 100ms fall 2 rise 1",
		timeouts:   "retries 3\n  option redispatch\n  timeout connect 1s\n  timeout check 500ms",
		parameters: "wal_sender_timeout: 2s, wal_receiver_timeout: 2s, wal_receiver_status_interval: 1s, wal_retrieve_retry_interval: 200ms",
		reaction:   8 * time.Second, patience: 30 * time.Second,
	}
	patroniDefaults = patroniTimings{
		ttl: 30, loopWait: 10, retry: 10, startTimeout: "300", heartbeat: 100, election: 1000,
		check:      "inter 3s fall 3 rise 2", // of the example in Patroni's repository
		timeouts:   "retries 2\n  timeout connect 4s\n  timeout check 5s",
		parameters: "wal_receiver_status_interval: 10s",
		reaction:   45 * time.Second, patience: 120 * time.Second,
	}
)

func newPatroni(t patroniTimings) func(*options, []*node, layout) (system, error) {
	return func(_ *options, nodes []*node, _ layout) (system, error) {
		if nodes[0].net.loopback {
			return nil, errors.New("network namespaces are needed to run Patroni")
		}
		for _, program := range []string{"patroni", "etcd", "haproxy"} {
			if _, err := exec.LookPath(program); err != nil && !exists("/usr/sbin/"+program) {
				return nil, fmt.Errorf("%s is not installed: scripts/setup bench-failover installs it", program)
			}
		}
		for _, n := range nodes {
			n.data = filepath.Join(n.dir, "db", "pgdata")
		}
		return &patroni{t, nodes}, nil
	}
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func (p *patroni) traits() traits {
	return traits{door: 5432, inLine: 1, reaction: p.reaction, patience: p.patience, recovery: 2 * p.patience}
}

func (p *patroni) list(format string, of []*node) string {
	var all []string
	for _, n := range of {
		all = append(all, strings.NewReplacer("NAME", n.name, "ADDRESS", n.address).Replace(format))
	}
	return strings.Join(all, ",")
}

func (p *patroni) config(self *node, bin string) string {
	return fmt.Sprintf(`scope: bench
name: %[1]s
restapi: {listen: "%[2]s:8008", connect_address: "%[2]s:8008"}
etcd3: {hosts: "%[3]s"}
watchdog: {mode: "off"}
bootstrap:
  dcs:
    ttl: %[4]d
    loop_wait: %[5]d
    retry_timeout: %[6]d
    primary_start_timeout: %[7]s
    maximum_lag_on_failover: 1048576
    synchronous_mode: true
    failsafe_mode: true
    postgresql:
      use_pg_rewind: true
      use_slots: true
      remove_data_directory_on_rewind_failure: true
      remove_data_directory_on_diverged_timelines: true
      parameters: {wal_level: replica, hot_standby: "on", wal_log_hints: "on", wal_keep_size: 256MB, max_slot_wal_keep_size: 8GB, %[8]s}
  initdb: [{encoding: UTF8}, {auth-local: trust}, {auth-host: trust}]
postgresql:
  listen: "%[2]s:5433"
  connect_address: "%[2]s:5433"
  data_dir: %[9]s
  pgpass: %[11]s/pgpass
  bin_dir: %[10]s
  authentication: {superuser: {username: postgres}, replication: {username: replicator}, rewind: {username: rewinder}}
  parameters: {unix_socket_directories: %[11]s}
  pg_hba: ["local all all trust", "host all all %[12]s trust", "host replication all %[12]s trust"]
`, self.name, self.address, p.list("ADDRESS:2379", p.nodes), p.ttl, p.loopWait, p.retry, p.startTimeout, p.parameters, self.data, bin, filepath.Dir(self.data), self.net.cidr())
}

func (p *patroni) haproxy(self *node) string {
	return fmt.Sprintf(`global
  maxconn 1000
  log stderr local0 emerg
defaults
  mode tcp
  timeout client 30m
  timeout server 30m
  %s
listen postgres
  bind %s:5432
  option httpchk OPTIONS /primary
  http-check expect status 200
  default-server %s on-marked-down shutdown-sessions
  %s
`, p.timeouts, self.address, p.check, strings.ReplaceAll(p.list("server NAME ADDRESS:5433 maxconn 300 check port 8008", p.nodes[:members]), ",", "\n  "))
}

func (p *patroni) start(ctx context.Context) error {
	versions, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(versions) == 0 {
		return errors.New("PostgreSQL is not installed")
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(account.Uid)
	gid, _ := strconv.Atoi(account.Gid)
	for _, n := range p.nodes {
		bin, err := n.clock.programs(filepath.Dir(versions[len(versions)-1]))
		if err != nil {
			return err
		}
		folder := filepath.Dir(n.data)
		if err := errors.Join(os.MkdirAll(folder, 0o755), os.Chown(folder, uid, gid), os.MkdirAll(filepath.Join(n.dir, "store"), 0o700)); err != nil {
			return err
		}
		if err := errors.Join(
			os.WriteFile(n.dir+".yml", []byte(p.config(n, bin)), 0o644),
			os.WriteFile(n.dir+".haproxy", []byte(p.haproxy(n)), 0o644),
		); err != nil {
			return err
		}
		if err := p.startEtcd(n); err != nil {
			return err
		}
	}
	for i, n := range p.nodes[:members] { // the first creates the database, the others copy it
		if err := p.restart(n); err != nil {
			return err
		}
		if i == 0 {
			if err := until(ctx, 60*time.Second, func() error { return makeUser(p.nodes[:1], p.traits().door) }); err != nil {
				return fmt.Errorf("%w\n%s", err, p.explain())
			}
		}
	}
	return nil
}

func (p *patroni) startEtcd(n *node) (err error) {
	n.store, err = n.start(n.dir+".etcd.log", nil, "etcd", "--name", n.name, "--data-dir", filepath.Join(n.dir, "store", "etcd"),
		"--listen-client-urls", "http://"+n.address+":2379", "--advertise-client-urls", "http://"+n.address+":2379",
		"--listen-peer-urls", "http://"+n.address+":2380", "--initial-advertise-peer-urls", "http://"+n.address+":2380",
		"--initial-cluster", p.list("NAME=http://ADDRESS:2380", p.nodes), "--initial-cluster-token", "bench",
		"--heartbeat-interval", strconv.Itoa(p.heartbeat), "--election-timeout", strconv.Itoa(p.election), "--logger", "zap", "--log-level", "warn")
	return err
}

func (p *patroni) restart(n *node) (err error) {
	if !alive(n.store) {
		err = errors.Join(err, p.startEtcd(n))
	}
	if n.index >= members {
		return err
	}
	if !alive(n.agent) {
		env, e := n.clock.python()
		if e != nil {
			return e
		}
		n.agent, e = n.start(n.dir+".log", append(env, "HOME="+filepath.Dir(n.data)), "setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups",
			"/usr/bin/patroni", n.dir+".yml")
		err = errors.Join(err, e)
	}
	if !alive(n.proxy) {
		var e error
		n.proxy, e = n.start(n.dir+".haproxy.log", n.clock.env(), "/usr/sbin/haproxy", "-db", "-f", n.dir+".haproxy")
		err = errors.Join(err, e)
	}
	return err
}

// call speaks HTTP to a node, from there.
func (p *patroni) call(ctx context.Context, n *node, method, port, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+net.JoinHostPort(n.address, port)+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	transport := &http.Transport{DialContext: n.dial, DisableKeepAlives: true}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err = io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s of %s: %s: %s", method, path, n.name, res.Status, text)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}

// switchover lets Patroni choose its synchronous standby: it goes to no other.
func (p *patroni) switchover(ctx context.Context, from, _ *node) error {
	return p.call(ctx, from, http.MethodPost, "8008", "/switchover", map[string]string{"leader": from.name}, nil)
}

func (p *patroni) storeLeader() *node {
	for _, n := range p.nodes {
		var status struct {
			Header struct {
				Member string `json:"member_id"`
			} `json:"header"`
			Leader string `json:"leader"`
		}
		if alive(n.store) && p.call(context.Background(), n, http.MethodPost, "2379", "/v3/maintenance/status", struct{}{}, &status) == nil &&
			status.Leader == status.Header.Member {
			return n
		}
	}
	return nil
}

func (p *patroni) stopStore() error {
	var err error
	for _, n := range p.nodes {
		err = errors.Join(err, kill(n.store))
	}
	return err
}

func (p *patroni) startStore() error {
	var err error
	for _, n := range p.nodes {
		err = errors.Join(err, p.restart(n))
	}
	return err
}

// settled asks Patroni whom it knows: until its store has a synchronous standby it fails over to nobody.
func (p *patroni) settled(ctx context.Context) error {
	var seen struct {
		Members []struct{ Name, Role, State string }
	}
	var err error
	for _, n := range p.nodes[:members] {
		if err = p.call(ctx, n, http.MethodGet, "8008", "/cluster", nil, &seen); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	roles := map[string]int{}
	for _, m := range seen.Members {
		roles[m.Role]++
	}
	if roles["leader"] != 1 || roles["sync_standby"] < 1 || len(seen.Members) < members {
		return fmt.Errorf("no leader, synchronous standby and other member of Patroni: %v", seen.Members)
	}
	return nil
}

func (p *patroni) explain() string {
	var all strings.Builder
	for _, n := range p.nodes[:members] {
		var status json.RawMessage
		if err := p.call(context.Background(), n, http.MethodGet, "8008", "/cluster", nil, &status); err != nil {
			fmt.Fprintf(&all, "--- %s\n%v\n", n.name, err)
		} else {
			fmt.Fprintf(&all, "--- %s\n%s\n", n.name, status)
		}
		text, _ := os.ReadFile(n.dir + ".log")
		all.Write(text[max(0, len(text)-1500):])
	}
	return all.String()
}
