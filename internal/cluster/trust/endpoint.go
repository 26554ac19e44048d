package trust

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	joinPath  = "/v1/join"
	renewPath = "/v1/renew"
	bodyLimit = 64 << 10
)

// EndpointOptions say what a node offers to those that join. Store, Dir and Listen are required.
type EndpointOptions struct {
	Store  Store
	Dir    string // with the authority
	Listen string // host:port
	// Members lists where the store's members are reached, host:port each.
	Members func(ctx context.Context) ([]string, error)
	// Admit may refuse a node (a name that is taken, one that was removed); renewal says that it has a certificate.
	Admit    func(ctx context.Context, node Node, renewal bool) error
	Lifetime time.Duration // of certificates
	Log      *slog.Logger
}

// An Endpoint gives new nodes their first certificate for a token, and nodes with a certificate the next one.
type Endpoint struct{ o EndpointOptions }

// NewEndpoint returns an endpoint that serves in Run.
func NewEndpoint(o EndpointOptions) *Endpoint {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Admit == nil {
		o.Admit = func(context.Context, Node, bool) error { return nil }
	}
	if o.Members == nil {
		o.Members = func(context.Context) ([]string, error) { return nil, nil }
	}
	return &Endpoint{o: o}
}

// A request asks for a certificate; the secret key never leaves its node.
type request struct {
	ID      string `json:"id,omitempty"`
	Secret  string `json:"secret,omitempty"`
	Node    Node   `json:"node"`
	Request []byte `json:"request"` // PKCS #10, DER
}

type answer struct {
	Error     string   `json:"error,omitempty"`
	Refused   bool     `json:"refused,omitempty"` // asking elsewhere does not help
	Authority []byte   `json:"authority,omitempty"`
	Chain     []byte   `json:"chain,omitempty"`
	Key       []byte   `json:"key,omitempty"` // the authority's
	Cluster   string   `json:"cluster,omitempty"`
	Members   []string `json:"members,omitempty"`
}

// Run serves until ctx ends.
func (e *Endpoint) Run(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", e.o.Listen)
	if err != nil {
		return fmt.Errorf("endpoint for joining nodes: %w", err)
	}
	return e.Serve(ctx, l)
}

// Serve is Run on a listener that exists; it closes it.
func (e *Endpoint) Serve(ctx context.Context, l net.Listener) error {
	config, err := ServerTLS(e.o.Dir)
	if err != nil {
		l.Close()
		return err
	}
	config.ClientAuth = tls.VerifyClientCertIfGiven // a joining node has none yet
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+joinPath, e.serve(e.join))
	mux.HandleFunc("POST "+renewPath, e.serve(e.renew))
	server := &http.Server{
		Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 20 * time.Second, IdleTimeout: 10 * time.Second,
		MaxHeaderBytes: 8 << 10, ErrorLog: slog.NewLogLogger(e.o.Log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(tls.NewListener(l, config)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("endpoint for joining nodes: %w", err)
	}
	return nil
}

func (e *Endpoint) serve(do func(*http.Request, *request) (answer, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q request
		a, status := answer{}, http.StatusOK
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyLimit)).Decode(&q)
		if err != nil {
			err = fmt.Errorf("%w: the request cannot be read", ErrRefused)
		} else {
			a, err = do(r, &q)
		}
		switch {
		case errors.Is(err, ErrRefused):
			a, status = answer{Error: err.Error(), Refused: true}, http.StatusForbidden
		case err != nil:
			a, status = answer{Error: err.Error()}, http.StatusServiceUnavailable
		}
		if err != nil {
			e.o.Log.Warn("certificate not given", "node", q.Node.Name, "remote", r.RemoteAddr, "error", err)
		} else {
			e.o.Log.Info("certificate given", "node", q.Node.Name, "remote", r.RemoteAddr, "path", r.URL.Path)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(a)
	}
}

func (e *Endpoint) join(r *http.Request, q *request) (answer, error) {
	public, err := q.public()
	if err != nil {
		return answer{}, err
	}
	if err := e.o.Admit(r.Context(), q.Node, false); err != nil {
		return answer{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	a, err := e.signer()
	if err != nil {
		return answer{}, err
	}
	i, err := redeem(r.Context(), e.o.Store, q.ID, q.Secret, q.Node.Name, hash(string(public.RawSubjectPublicKeyInfo)))
	if err != nil {
		return answer{}, err
	}
	members, err := e.o.Members(r.Context())
	if err != nil {
		return answer{}, err
	}
	chain, err := a.sign(public.PublicKey, q.Node, e.o.Lifetime)
	if err != nil {
		return answer{}, err
	}
	out := answer{Authority: encodeCert(a.cert.Raw), Chain: chain, Cluster: a.clusterName(), Members: members}
	if !i.Plain {
		out.Key, err = encodeKey(a.key)
	}
	return out, err
}

func (e *Endpoint) renew(r *http.Request, q *request) (answer, error) {
	if len(r.TLS.VerifiedChains) == 0 {
		return answer{}, fmt.Errorf("%w: a certificate is renewed for a node that shows the one it has", ErrRefused)
	}
	if name := r.TLS.PeerCertificates[0].Subject.CommonName; name != q.Node.Name {
		return answer{}, fmt.Errorf("%w: node %s asks for the certificate of %s", ErrRefused, name, q.Node.Name)
	}
	public, err := q.public()
	if err != nil {
		return answer{}, err
	}
	if err := e.o.Admit(r.Context(), q.Node, true); err != nil {
		return answer{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	a, err := e.signer()
	if err != nil {
		return answer{}, err
	}
	chain, err := a.sign(public.PublicKey, q.Node, e.o.Lifetime)
	return answer{Chain: chain}, err
}

func (e *Endpoint) signer() (authority, error) {
	a, err := loadAuthority(e.o.Dir)
	if err == nil && a.key == nil {
		err = fmt.Errorf("%w: ask another", ErrNoAuthority)
	}
	return a, err
}

// public checks that the asker has the secret key of the certificate it asks for.
func (q *request) public() (*x509.CertificateRequest, error) {
	csr, err := x509.ParseCertificateRequest(q.Request)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err == nil && q.Node.Name == "" {
		err = errors.New("without a node's name")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the certificate request is not good: %w", ErrRefused, err)
	}
	return csr, nil
}

// ServerTLS returns a configuration that shows the node's certificate in dir, read anew when a client connects, and
// demands one of the same cluster.
func ServerTLS(dir string) (*tls.Config, error) {
	pool, err := pool(dir)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair(dir) },
	}, nil
}

// ClientTLS returns a configuration for connections to a node of the same cluster, by the node's name.
func ClientTLS(dir, node string) (*tls.Config, error) {
	pool, err := pool(dir)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: node,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair(dir) },
	}, nil
}

func pool(dir string) (*x509.CertPool, error) {
	a, err := loadAuthority(dir)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool, nil
}

func pair(dir string) (*tls.Certificate, error) {
	p, err := tls.LoadX509KeyPair(Files(dir).Cert, Files(dir).Key)
	return &p, err
}

func decodeCert(text []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, cert)
	}
	if len(all) == 0 {
		return nil, errors.New("no certificate in the answer")
	}
	return all, nil
}
