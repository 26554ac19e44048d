package postgres

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/act/conformance"
	"github.com/backstay/backstay/internal/act/guard"
	"github.com/backstay/backstay/internal/act/ledger"
	"github.com/backstay/backstay/internal/decide/plan"
)

// The test binary is the guard process as well.
func TestMain(m *testing.M) {
	if dir := os.Getenv("POSTGRES_TEST_GUARD"); dir != "" {
		if err := guard.Run(context.Background(), guard.Options{DataDir: dir, Orders: os.Stdin, Answers: os.Stdout}); err != nil {
			os.Exit(1)
		}
		return
	}
	conformance.Play(New)
	os.Exit(m.Run())
}

func TestGuardStopsPostgres(t *testing.T) {
	l := newLab(t, "a")
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	p := *l.engines["a"].process()
	why := make(chan string, 1)
	h := guard.NewHolder(guard.HolderOptions{Command: []string{os.Args[0]}, Env: append(os.Environ(), "POSTGRES_TEST_GUARD="+l.engines["a"].DataPath()), OnStop: func(w string) { why <- w }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	<-h.Ready()
	if err := h.Keep(200 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	l.until("the guard stops it", func() bool { return !p.Alive() })
	t.Logf("stopped %v after the last word, which kept it for 200ms: %s", time.Since(began).Round(time.Millisecond), <-why)
	l.until("the node sees it", func() bool { return !l.look("a").Running })
	l.do("a", plan.Step{Kind: plan.Start, Epoch: 1})
	p = *l.engines["a"].process()
	if err := errors.Join(h.Keep(time.Hour), p.Signal(syscall.SIGSTOP)); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	cancel() // as if the node was gone
	<-done
	if p.Alive() {
		t.Error("a stopped postmaster outlived the node")
	}
	t.Logf("a stopped postmaster was killed %v after the node was gone", time.Since(began).Round(time.Millisecond))
}

// A new node process takes over the postmaster that the one before left.
func TestTakesOver(t *testing.T) {
	l := newLab(t, "a")
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 3})
	p := *l.engines["a"].process()
	l.engines["a"].ledger.Close(func() {}) // as if that process was gone
	e := New(l.options["a"])
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	<-e.Changed()
	o, err := e.Observe(t.Context())
	if err != nil || o.Role != plan.Primary || o.Epoch != 3 || !o.Writable {
		t.Errorf("the new process sees %+v, %v", o, err)
	}
	if err := e.Do(t.Context(), plan.Step{Kind: plan.Promote, Node: "a", Epoch: 2}); !errors.Is(err, act.ErrStale) {
		t.Errorf("the epoch is forgotten: %v", err)
	}
	if err := e.Do(t.Context(), plan.Step{Kind: plan.SetSync, Node: "a", Epoch: 3}); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if p.Alive() {
		t.Error("it does not stop what it took over")
	}
	if err := e.Do(t.Context(), plan.Step{Kind: plan.Start, Node: "a", Epoch: 3}); !errors.Is(err, ledger.ErrClosed) {
		t.Errorf("a step after the end: %v", err)
	}
}

func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root can mount the small disk")
		return
	}
	l := newLab(t, "a", "b")
	dir := l.options["a"].DataDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l.stop("a")
	if err := syscall.Mount("backstay-test", dir, "tmpfs", 0, "size=160m,mode=0755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.stop("a")
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	l.run("a")
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	if err := l.Write(t.Context(), "a", "before"); err != nil {
		t.Fatal(err)
	}
	fill := filepath.Join(dir, "fill")
	f, err := os.Create(fill)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for err == nil {
		_, err = f.Write(block)
	}
	f.Close()
	l.until("the problem is said before anybody's rows need room", func() bool { return strings.Contains(l.look("a").Problem, "the disk is full") })
	began := time.Now()
	c, err := l.conn(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Exec(t.Context(), "INSERT INTO ledger (value) SELECT 'bulk' || i || repeat('x', 2000) FROM generate_series(1, 20000) i")
	if err == nil {
		t.Fatal("the disk is not full")
	}
	l.until("the problem is said", func() bool { return strings.Contains(strings.ToLower(l.look("a").Problem), "no space left") })
	t.Logf("after %v: %s", time.Since(began).Round(time.Millisecond), l.look("a").Problem)
	for err = nil; err == nil; { // until there is no segment left
		_, err = c.Exec(t.Context(), "SELECT pg_switch_wal(); UPDATE backstay.probe SET at = clock_timestamp()")
	}
	c.Close(t.Context())
	l.until("the server has ended", func() bool { return !l.look("a").Running })
	if p := l.look("a").Problem; !strings.Contains(p, "PANIC") || !strings.Contains(p, "No space left") {
		t.Errorf("the problem: %s", p)
	}
	t.Log(l.look("a").Problem)
	// A fence needs a few bytes for the epoch. Without them it refuses, and nothing is promised.
	if err := l.engines["a"].Do(t.Context(), plan.Step{Kind: plan.Fence, Node: "a", Epoch: 2}); err == nil {
		t.Log("there was still room for the epoch")
	} else if l.look("a").Epoch != 1 {
		t.Errorf("an epoch that is not on disk is shown: %v", err)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	l.do("a", plan.Step{Kind: plan.Fence, Epoch: 3})
	l.do("a", plan.Step{Kind: plan.Promote, Epoch: 3})
	if vs, err := l.Values(t.Context(), "a"); err != nil || !slices.Contains(vs, "before") {
		t.Errorf("%d values, %v", len(vs), err)
	}
	l.until("it is well", func() bool { o := l.look("a"); return o.Writable && o.Problem == "" })
}

// A cluster that exists becomes the first primary, and what was set in it that is Backstay's to set does not count.
func TestAdopt(t *testing.T) {
	l := newLab(t, "a", "b")
	e := l.engines["a"]
	if err := e.init(); err != nil {
		t.Fatal(err)
	}
	if _, err := run(e.command(t.Context(), "initdb", "-D", e.o.DataPath, "-U", "postgres", "--auth=trust")); err != nil {
		t.Fatal(err)
	}
	auto := "synchronous_standby_names = 'nobody'\nwork_mem = '7MB'\n"
	if err := e.acc.Write(e.data("postgresql.auto.conf"), []byte(auto), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := l.look("a"); o.Empty || o.SystemID == "" || o.Position == 0 {
		t.Errorf("before: %+v", o)
	}
	if err := e.Do(t.Context(), plan.Step{Kind: plan.Start, Node: "a", Epoch: 1}); !errors.Is(err, act.ErrNotFenced) {
		t.Errorf("a cluster that was not adopted is started: %v", err)
	}
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	var sync, mem string
	err := e.query(t.Context(), time.Second, func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, "SELECT current_setting('synchronous_standby_names'), current_setting('work_mem')").Scan(&sync, &mem)
	})
	if err != nil || sync != "" || mem != "7MB" {
		t.Errorf("synchronous_standby_names %q, work_mem %q, %v", sync, mem, err)
	}
	// Another origin must never be followed, and a standby raises what its primary had more of.
	l.do("b", plan.Step{Kind: plan.Create, Epoch: 1})
	if err := l.engines["b"].Do(t.Context(), plan.Step{Kind: plan.Rewind, Node: "b", Epoch: 2, Upstream: "a"}); !errors.Is(err, act.ErrForeign) {
		t.Errorf("rewind to another origin: %v", err)
	}
	if err := e.Configure(e.o.Peers, map[string]string{"max_connections": "77", "shared_buffers": "16MB"}, nil); err != nil {
		t.Fatal(err)
	}
	l.until("the restart is pending", func() bool {
		done, err := e.Done(t.Context(), plan.Step{Kind: plan.Restart, Node: "a", Epoch: 1})
		return err == nil && !done
	})
	was := l.look("a").Started
	l.until("it is shown", func() bool { return slices.Equal(l.look("a").PendingRestart, []string{"max_connections"}) })
	l.do("a", plan.Step{Kind: plan.Restart, Epoch: 1})
	if o := l.look("a"); !o.Started.After(was) || was.IsZero() || len(o.PendingRestart) > 0 {
		t.Errorf("started %v, and after the restart %v; pending %v", was, o.Started, o.PendingRestart)
	}
	l.do("b", plan.Step{Kind: plan.Clone, Epoch: 2, Upstream: "a"})
	if text, err := os.ReadFile(l.engines["b"].conf("backstay.conf")); err != nil || !strings.Contains(string(text), "max_connections = '77'") {
		t.Errorf("the standby's max_connections: %v", err)
	}
	// Torn files are of no use but to be cloned over.
	if err := l.engines["b"].persist(func(st *ledger.State) { st.Copying = true }); err != nil {
		t.Fatal(err)
	}
	l.do("b", plan.Step{Kind: plan.Stop, Epoch: 2})
	if err := l.engines["b"].Do(t.Context(), plan.Step{Kind: plan.Start, Node: "b", Epoch: 2}); !errors.Is(err, ledger.ErrCopying) {
		t.Errorf("torn files were started: %v", err)
	}
	if o := l.look("b"); o.Position != 0 || o.Problem == "" {
		t.Errorf("torn files look like %+v", o)
	}
	l.do("b", plan.Step{Kind: plan.Rewind, Epoch: 2, Upstream: "a"})
	l.lateEpoch(t)
}

// lateEpoch has a clone that waits for its upstream give way to a fence of a newer epoch.
func (l *lab) lateEpoch(t *testing.T) {
	t.Helper()
	l.do("a", plan.Step{Kind: plan.Stop, Epoch: 1})
	mute, err := net.Listen("tcp", l.options["a"].Peers["a"]) // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	l.do("b", plan.Step{Kind: plan.Stop, Epoch: 2})
	failed := make(chan error, 1)
	go func() {
		failed <- l.engines["b"].Do(t.Context(), plan.Step{Kind: plan.Clone, Node: "b", Epoch: 3, Upstream: "a"})
	}()
	l.until("the clone is under way", func() bool { return strings.HasPrefix(l.look("b").Busy, "clone") })
	began := time.Now()
	l.do("b", plan.Step{Kind: plan.Fence, Epoch: 4})
	t.Logf("a clone gave way after %v", time.Since(began).Round(time.Millisecond))
	if err := <-failed; !errors.Is(err, act.ErrStale) {
		t.Errorf("the clone ended with %v", err)
	}
}

// Members talk over TLS, and check whom they talk to.
func TestTLS(t *testing.T) {
	l := newLab(t, "a", "b")
	files := certificates(t, l.dir)
	for _, n := range []string{"a", "b"} {
		l.stop(n)
		o := l.options[n]
		o.TLS = &files
		l.options[n] = o
		l.run(n)
	}
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	l.do("b", plan.Step{Kind: plan.Clone, Epoch: 1, Upstream: "a"})
	var encrypted bool
	err := l.engines["a"].session(t.Context(), time.Second, func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_replication USING (pid)").Scan(&encrypted)
	})
	if err != nil || !encrypted {
		t.Errorf("the stream is encrypted: %v, %v", encrypted, err)
	}
	e := New(l.options["b"])
	e.o.TLS = nil
	cfg, err := e.remote("a", "postgres")
	if c, err := connect(t.Context(), cfg, err); err == nil {
		c.Close(t.Context())
		t.Error("a member gets in without TLS")
	}
}

// certificates writes an authority and one certificate for all of 127.0.0.11 to .13.
func certificates(t *testing.T, dir string) TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "backstay test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 11), net.IPv4(127, 0, 0, 12), net.IPv4(127, 0, 0, 13)},
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files := TLS{Cert: filepath.Join(dir, "crt"), Key: filepath.Join(dir, "key"), CA: filepath.Join(dir, "ca")}
	for path, block := range map[string]*pem.Block{files.Cert: {Type: "CERTIFICATE", Bytes: der}, files.CA: {Type: "CERTIFICATE", Bytes: der}, files.Key: {Type: "PRIVATE KEY", Bytes: text}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// A promotion that was asked for by a node process that died must not come about behind a fence.
func TestPromotionCalledOff(t *testing.T) {
	l := newLab(t, "a", "b")
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	l.do("b", plan.Step{Kind: plan.Clone, Epoch: 1, Upstream: "a"})
	l.do("b", plan.Step{Kind: plan.Fence, Epoch: 2})
	e := l.engines["b"]
	if err := e.persist(func(st *ledger.State) { st.Reign, st.Promoting = 2, true }); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(e.data("promote"), nil, 0o600); err != nil { // asked, and not heard yet
		t.Fatal(err)
	}
	l.do("b", plan.Step{Kind: plan.Fence, Epoch: 3})
	if o := l.look("b"); o.Running || o.Writable || o.Epoch != 3 || o.Position == 0 {
		t.Errorf("after the fence: %+v", o)
	}
	l.do("b", plan.Step{Kind: plan.Follow, Epoch: 3, Upstream: "a"})
	if o := l.look("b"); o.Role != plan.Standby {
		t.Errorf("after all: %+v", o)
	}
	l.frozenStandby(t)
	l.cannotRewind(t)
}

// frozenStandby fences a standby whose postmaster is stopped: it does not read its configuration, and must not stream
// again when it goes on.
func (l *lab) frozenStandby(t *testing.T) {
	t.Helper()
	p := *l.engines["b"].process()
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	l.do("b", plan.Step{Kind: plan.Fence, Epoch: 4})
	if err := p.Signal(syscall.SIGCONT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	for end := time.Now().Add(700 * time.Millisecond); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if o := l.look("b"); o.Streaming || len(l.look("a").Standbys) > 0 {
			t.Fatalf("a fenced standby streams again: %+v", o)
		}
	}
}

// cannotRewind has pg_rewind fail: the tail is put aside all the same before the copy replaces it.
func (l *lab) cannotRewind(t *testing.T) {
	t.Helper()
	l.do("b", plan.Step{Kind: plan.Promote, Epoch: 4})
	if err := l.Write(t.Context(), "a", "only on a"); err != nil {
		t.Fatal(err)
	}
	l.revokeStat(t)
	l.engines["b"].settle()
	l.until("the new primary has seen to the roles, and gives the right back no more", func() (taken bool) {
		l.revokeStat(t)
		time.Sleep(2 * time.Second)
		err := l.engines["b"].session(t.Context(), 5*time.Second, func(ctx context.Context, c *pgx.Conn) error {
			return c.QueryRow(ctx, "SELECT NOT has_function_privilege('"+rewinder+"', 'pg_catalog.pg_stat_file(text, boolean)', 'execute')").Scan(&taken)
		})
		return err == nil && taken
	})
	l.do("a", plan.Step{Kind: plan.Rewind, Epoch: 4, Upstream: "b"})
	rescued, cloned := l.happened(act.EventRescued), l.happened(act.EventCloned)
	if len(rescued) != 1 || len(cloned) != 2 || rescued[0].Fields["transactions"].(int) < 1 {
		t.Errorf("rescued %v, cloned %v", rescued, cloned)
	}
}

// revokeStat takes a right from the role by which a rewind reads.
func (l *lab) revokeStat(t *testing.T) {
	t.Helper()
	err := l.engines["b"].session(t.Context(), 5*time.Second, func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean), pg_catalog.pg_ls_dir(text, boolean, boolean) FROM "+rewinder)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func BenchmarkObserve(b *testing.B) {
	l := newLab(b, "a", "b")
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	l.do("b", plan.Step{Kind: plan.Clone, Epoch: 1, Upstream: "a"})
	for _, n := range []string{"a", "b"} {
		b.Run(string(l.look(n).Role), func(b *testing.B) {
			for b.Loop() {
				if _, err := l.engines[n].Observe(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestBadPasswordFile(t *testing.T) {
	l := newLab(t, "a")
	if err := os.Chmod(l.options["a"].Passwords.Replication, 0o644); err != nil {
		t.Fatal(err)
	}
	err := l.engines["a"].Do(t.Context(), plan.Step{Kind: plan.Create, Node: "a", Epoch: 1})
	if err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a password that everyone can read: %v", err)
	}
	if l.look("a").Running || !l.look("a").Empty {
		t.Error("it was begun all the same")
	}
}

// A standby that was killed and is rewound to the primary that it followed has nothing written at its end on the way: it
// streams again from there.
func TestCrashedStandbyIsRewound(t *testing.T) {
	l := newLab(t, "a", "b")
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	l.do("b", plan.Step{Kind: plan.Clone, Epoch: 1, Upstream: "a"})
	for i := range 3 {
		l.Crash(t, "b")
		l.until("b is gone", func() bool { return !l.look("b").Running })
		if err := l.Write(t.Context(), "a", fmt.Sprint("while b was away ", i)); err != nil {
			t.Fatal(err)
		}
		l.do("b", plan.Step{Kind: plan.Rewind, Epoch: 1, Upstream: "a"})
		l.until("b has all rows", func() bool {
			values, err := l.Values(t.Context(), "b")
			return err == nil && len(values) == i+1
		})
	}
	if r := l.happened(act.EventRewound); len(r) != 3 {
		t.Errorf("rewound %d times: %v", len(r), r)
	}
}

// Roles that a creation did not come to make, or not whole, are made by whoever is primary.
func TestRolesAreMadeWhole(t *testing.T) {
	l := newLab(t, "a")
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	c, err := l.conn(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(t.Context(), "REVOKE EXECUTE ON FUNCTION pg_read_binary_file(text) FROM "+rewinder); err != nil {
		t.Fatal(err)
	}
	_ = c.Close(t.Context())
	l.stop("a")
	l.run("a")
	l.do("a", plan.Step{Kind: plan.Start, Epoch: 1})
	l.look("a")
	l.engines["a"].settle()
	l.until("the right is back", func() bool {
		c, err := l.conn(t.Context(), "a")
		if err != nil {
			return false
		}
		defer c.Close(context.Background())
		var may bool
		err = c.QueryRow(t.Context(), "SELECT has_function_privilege('"+rewinder+"', 'pg_read_binary_file(text)', 'execute')").Scan(&may)
		return err == nil && may
	})
}

// While it is rewound, and after a rewind that was cut short, an instance is not said to follow, and is not started.
func TestUnaligned(t *testing.T) {
	l := newLab(t, "a", "b")
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	l.do("b", plan.Step{Kind: plan.Clone, Epoch: 1, Upstream: "a"})
	l.do("b", plan.Step{Kind: plan.Stop, Epoch: 1})
	l.do("a", plan.Step{Kind: plan.Stop, Epoch: 1})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := l.engines["b"].Do(ctx, plan.Step{Kind: plan.Rewind, Node: "b", Epoch: 1, Upstream: "a"}); err == nil {
		t.Fatal("rewound to one that is not there")
	}
	if o := l.look("b"); o.Upstream != "" || o.Running {
		t.Errorf("it looks like %+v", o)
	}
	if err := l.engines["b"].Do(t.Context(), plan.Step{Kind: plan.Start, Node: "b", Epoch: 1}); !errors.Is(err, errUnaligned) {
		t.Errorf("started: %v", err)
	}
	l.do("a", plan.Step{Kind: plan.Start, Epoch: 1})
	l.do("b", plan.Step{Kind: plan.Rewind, Epoch: 1, Upstream: "a"})
	if o := l.look("b"); o.Upstream != "a" {
		t.Errorf("it looks like %+v", o)
	}
}

// Where there is nothing to rewind and yet no stream, time and again, the files are copied anew.
func TestVainRewinds(t *testing.T) {
	e := New(Options{Node: "b"})
	e.vain.first = time.Now()
	for i := range vainTimes {
		if err := e.futile("a"); err != nil {
			t.Errorf("given up after %d tries at once: %v", i+1, err)
		}
	}
	e.vain.first = time.Now().Add(-vainFor)
	if err := e.futile("a"); err == nil {
		t.Error("it goes on in vain")
	}
	if err := e.futile("a"); err != nil {
		t.Errorf("the count goes on after a copy: %v", err)
	}
}
