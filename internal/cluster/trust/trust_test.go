package trust

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/cluster"
)

// A rig is a cluster's first node with its endpoint.
type rig struct {
	dir, address string
	store        *cluster.Memory
}

func newRig(t *testing.T, change func(*EndpointOptions)) rig {
	t.Helper()
	r := rig{dir: t.TempDir(), store: cluster.NewMemory()}
	if err := Init(r.dir, "shop", Node{Name: "a", Addresses: []string{"127.0.0.1"}}); err != nil {
		t.Fatal(err)
	}
	o := EndpointOptions{
		Store: r.store, Dir: r.dir,
		Members: func(context.Context) ([]string, error) { return []string{"127.0.0.1:2379"}, nil },
	}
	if change != nil {
		change(&o)
	}
	r.address = serve(t, NewEndpoint(o))
	return r
}

func serve(t *testing.T, e *Endpoint) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- e.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func (r rig) invite(t *testing.T, i Invitation) string {
	t.Helper()
	token, err := Invite(t.Context(), r.store, r.dir, i)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (r rig) join(t *testing.T, token, name, dir string) (Grant, error) {
	return Join(t.Context(), token, []string{"127.0.0.1:1", r.address}, Node{Name: name, Addresses: []string{"127.0.0.2"}}, dir)
}

// handshake connects two nodes by their directories.
func handshake(t *testing.T, server, client, name string) error {
	t.Helper()
	sc, err := ServerTLS(server)
	if err != nil {
		t.Fatal(err)
	}
	cc, err := ClientTLS(client, name)
	if err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	failed := make(chan error, 1)
	go func() { s := tls.Server(a, sc); failed <- s.Handshake(); a.Close() }()
	err = tls.Client(b, cc).Handshake()
	b.Close()
	return errors.Join(err, <-failed)
}

func TestInitMakesAnAuthorityOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	if err := Init(dir, "shop", Node{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"ca.key", "node.pem"} {
		if info, err := os.Stat(filepath.Join(dir, f)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, info.Mode(), err)
		}
	}
	if err := Init(dir, "shop", Node{Name: "a"}); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second authority: %v", err)
	}
	if err := handshake(t, dir, dir, "a"); err != nil {
		t.Error(err)
	}
	if err := handshake(t, dir, dir, "b"); err == nil {
		t.Error("a node passed for another")
	}
}

func TestJoin(t *testing.T) {
	r := newRig(t, nil)
	dir := filepath.Join(t.TempDir(), "tls")
	token := r.invite(t, Invitation{})
	g, err := r.join(t, token, "b", dir)
	if err != nil {
		t.Fatal(err)
	}
	if g.Cluster != "shop" || len(g.Members) != 1 {
		t.Errorf("grant = %+v", g)
	}
	if err := handshake(t, r.dir, dir, "a"); err != nil {
		t.Errorf("the new node is not trusted: %v", err)
	}
	if err := handshake(t, dir, r.dir, "127.0.0.2"); err != nil {
		t.Errorf("the new node cannot be reached by its address: %v", err)
	}
	if err := Issue(dir, Node{Name: "b"}, 0); err != nil {
		t.Errorf("the new node does not have the authority's key: %v", err)
	}
	kv, err := r.store.Get(t.Context(), inviteKey+strings.Split(token, ".")[1])
	if err != nil || strings.Contains(string(kv.Value), strings.Split(token, ".")[2]) {
		t.Errorf("the store knows the secret, or nothing: %s, %v", kv.Value, err)
	}
}

func TestTokenIsGoodOnceForOneNodeForAWhile(t *testing.T) {
	r := newRig(t, nil)
	used := r.invite(t, Invitation{})
	if _, err := r.join(t, used, "b", t.TempDir()); err != nil {
		t.Fatal(err)
	}
	late := r.invite(t, Invitation{TTL: time.Nanosecond})
	bound := r.invite(t, Invitation{Node: "c"})
	parts := strings.Split(bound, ".")
	for name, c := range map[string]struct{ token, node string }{
		"used":             {used, "d"},
		"used by the same": {used, "b"}, // with another key
		"expired":          {late, "b"},
		"for another node": {bound, "b"},
		"wrong secret":     {strings.Replace(bound, parts[2], strings.Repeat("A", 26), 1), "c"},
		"unknown":          {strings.Replace(bound, parts[1], "nobody", 1), "c"},
		"cut short":        {bound[:60], "c"},
	} {
		dir := t.TempDir()
		if _, err := r.join(t, c.token, c.node, dir); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("%s left %v behind", name, left)
		}
	}
	if _, err := r.join(t, bound, "c", t.TempDir()); err != nil {
		t.Errorf("the failed attempts used the token up: %v", err)
	}
}

func TestOneOfManyWinsAToken(t *testing.T) {
	r := newRig(t, nil)
	token := r.invite(t, Invitation{})
	var mu sync.Mutex
	won := 0
	var all sync.WaitGroup
	for range 8 {
		dir := t.TempDir()
		all.Go(func() {
			_, err := r.join(t, token, "b", dir)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errors.Is(err, ErrRefused) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if won != 1 {
		t.Errorf("%d nodes joined with one token", won)
	}
}

func TestLostAnswerCanBeAskedForAgain(t *testing.T) {
	store, key := cluster.NewMemory(), "key"
	dir := t.TempDir()
	if err := Init(dir, "shop", Node{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	text, err := Invite(t.Context(), store, dir, Invitation{})
	if err != nil {
		t.Fatal(err)
	}
	token, _ := parseToken(text)
	for range 2 {
		if _, err := redeem(t.Context(), store, token.id, token.secret, "b", key); err != nil {
			t.Error(err)
		}
	}
	if _, err := redeem(t.Context(), store, token.id, token.secret, "b", "other"); !errors.Is(err, ErrRefused) {
		t.Errorf("another key: %v", err)
	}
}

// TestSecretStaysFromAnotherCluster has a node of another cluster answer: it must not get to see the token.
func TestSecretStaysFromAnotherCluster(t *testing.T) {
	ours := newRig(t, nil)
	token := ours.invite(t, Invitation{})

	theirs := t.TempDir()
	if err := Init(theirs, "shop", Node{Name: "a", Addresses: []string{"127.0.0.1"}}); err != nil {
		t.Fatal(err)
	}
	config, err := ServerTLS(theirs)
	if err != nil {
		t.Fatal(err)
	}
	config.ClientAuth = tls.NoClientCert
	// It even shows our authority's certificate beside its own.
	own, err := pair(theirs)
	if err != nil {
		t.Fatal(err)
	}
	a, err := loadAuthority(ours.dir)
	if err != nil {
		t.Fatal(err)
	}
	own.Certificate = append(own.Certificate, a.cert.Raw)
	config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own, nil }
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{}, 1)
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{} })}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })

	_, err = Join(t.Context(), token, []string{l.Addr().String()}, Node{Name: "b"}, t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "not of the cluster") {
		t.Errorf("join by a stranger: %v", err)
	}
	if len(asked) > 0 {
		t.Error("the stranger was sent a request")
	}
	if _, err := ours.join(t, token, "b", theirs); err == nil || !strings.Contains(err.Error(), "another cluster") {
		t.Errorf("joined over another cluster's certificates: %v", err)
	}
}

func TestAdmitMayRefuse(t *testing.T) {
	r := newRig(t, func(o *EndpointOptions) {
		o.Admit = func(_ context.Context, n Node, renewal bool) error {
			if n.Name == "a" && !renewal {
				return errors.New("the name is taken")
			}
			return nil
		}
	})
	token := r.invite(t, Invitation{})
	if _, err := r.join(t, token, "a", t.TempDir()); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "taken") {
		t.Errorf("join by a name that is taken: %v", err)
	}
	if _, err := r.join(t, token, "b", t.TempDir()); err != nil {
		t.Errorf("the refusal used the token up: %v", err)
	}
}

func TestInvitationsAreSweptAndBounded(t *testing.T) {
	r := newRig(t, nil)
	for range 3 {
		r.invite(t, Invitation{TTL: time.Nanosecond})
	}
	for range maxInvites {
		r.invite(t, Invitation{})
	}
	if all, _, err := r.store.List(t.Context(), inviteKey); err != nil || len(all) != maxInvites {
		t.Errorf("%d invitations are kept, %v", len(all), err)
	}
	if _, err := Invite(t.Context(), r.store, r.dir, Invitation{}); err == nil {
		t.Error("one invitation too many")
	}
	if _, err := Invite(t.Context(), r.store, r.dir, Invitation{TTL: 48 * time.Hour}); err == nil {
		t.Error("a token for two days")
	}
}

func TestRenewal(t *testing.T) {
	r := newRig(t, nil)
	plain := t.TempDir()
	if _, err := r.join(t, r.invite(t, Invitation{Plain: true}), "b", plain); err != nil {
		t.Fatal(err)
	}
	if err := Issue(plain, Node{Name: "b"}, 0); !errors.Is(err, ErrNoAuthority) {
		t.Errorf("a plain node has the authority's key: %v", err)
	}
	for name, o := range map[string]RenewerOptions{
		"with the authority's key": {Dir: r.dir, Node: Node{Name: "a"}},
		"by another node": {
			Dir: plain, Node: Node{Name: "b"}, Endpoints: func() []string { return []string{"127.0.0.1:1", r.address} },
		},
	} {
		before, err := loadCert(Files(o.Dir).Cert)
		if err != nil {
			t.Fatal(err)
		}
		if err := NewRenewer(o).Renew(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		after, err := loadCert(Files(o.Dir).Cert)
		if err != nil || after.SerialNumber.Cmp(before.SerialNumber) == 0 {
			t.Errorf("%s: not renewed, %v", name, err)
		}
		if err := handshake(t, o.Dir, r.dir, o.Node.Name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	thief := NewRenewer(RenewerOptions{Dir: plain, Node: Node{Name: "a"}, Endpoints: func() []string { return []string{r.address} }})
	if err := thief.Renew(t.Context()); !errors.Is(err, ErrRefused) {
		t.Errorf("a node got the certificate of another: %v", err)
	}
}

func TestRenewerKeepsAShortCertificateFresh(t *testing.T) {
	dir := t.TempDir()
	if err := Init(dir, "shop", Node{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := Issue(dir, Node{Name: "a"}, -time.Minute); err != nil { // it was off for long
		t.Fatal(err)
	}
	renewed := make(chan time.Time, 1)
	renewer := NewRenewer(RenewerOptions{
		Dir: dir, Node: Node{Name: "a"}, Lifetime: 2 * time.Second,
		OnRenewed: func(until time.Time, err error) {
			if err != nil {
				t.Error(err)
			}
			renewed <- until
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- renewer.Run(ctx) }()
	first, second := <-renewed, <-renewed
	if !first.After(time.Now().Add(-2*time.Second)) || second.Before(first) {
		t.Errorf("renewed until %v, then %v", first, second)
	}
	cancel()
	for {
		select {
		case <-renewed:
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		}
	}
}
