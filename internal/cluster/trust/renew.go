package trust

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// RenewerOptions say whose certificate is kept fresh. Dir and Node are required.
type RenewerOptions struct {
	Dir  string
	Node Node
	// File is where the certificate and its key are; those of the node itself where empty. One that is missing is made.
	File string
	// Current, where set, is who the certificate is for now: it is made anew where the one there is does not say so.
	Current func() Node
	// Endpoints lists the other nodes' endpoints, host:port each, for a node without the authority's key.
	Endpoints func() []string
	Lifetime  time.Duration // of the certificates it signs itself
	OnRenewed func(until time.Time, err error)
	Log       *slog.Logger
}

// A Renewer renews a node's certificate when half its life is over: with the authority's key if the node has it, so
// that it depends on nobody, otherwise by another node.
type Renewer struct{ o RenewerOptions }

// NewRenewer returns a renewer that works in Run.
func NewRenewer(o RenewerOptions) *Renewer {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.OnRenewed == nil {
		o.OnRenewed = func(time.Time, error) {}
	}
	if o.File == "" {
		o.File = Files(o.Dir).Cert
	}
	return &Renewer{o: o}
}

// Ensure gets a certificate where there is none that would do.
func (r *Renewer) Ensure(ctx context.Context) error {
	wait, err := r.due()
	if err != nil || wait > 0 {
		return err
	}
	return r.Renew(ctx)
}

func (r *Renewer) node() Node {
	if r.o.Current != nil {
		return r.o.Current()
	}
	return r.o.Node
}

// Run renews until ctx ends. A certificate that was found expired is renewed at once.
func (r *Renewer) Run(ctx context.Context) error {
	for {
		wait, err := r.due()
		if err != nil {
			return err
		}
		if wait <= 0 {
			err := r.Renew(ctx)
			until, _ := expires(r.o.File)
			r.o.OnRenewed(until, err)
			if err != nil {
				r.o.Log.Error("certificate not renewed", "expires", until, "error", err)
				wait = min(time.Minute, max(time.Until(until)/10, time.Second))
			}
		}
		if wait <= 0 {
			continue
		}
		select {
		case <-time.After(min(wait, time.Hour)): // short waits: the clock may jump
		case <-ctx.Done():
			return nil
		}
	}
}

// due returns how long until renewal: half the life, give or take a twentieth so that nodes do not all ask at once.
func (r *Renewer) due() (time.Duration, error) {
	cert, err := loadCert(r.o.File)
	switch {
	case errors.Is(err, fs.ErrNotExist) && r.node().Service != "":
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("this node's certificate: %w", err)
	case r.o.Current != nil && !covers(cert, r.node()):
		return 0, nil
	}
	issued := cert.NotBefore.Add(clockSkew)
	life := cert.NotAfter.Sub(issued)
	spread := rand.New(rand.NewPCG(cert.SerialNumber.Uint64(), 0)).Float64() / 10
	return time.Until(issued.Add(time.Duration(float64(life) * (0.45 + spread)))), nil
}

// covers says whether a certificate is good for all addresses of a node.
func covers(cert *x509.Certificate, node Node) bool {
	return !slices.ContainsFunc(node.Addresses, func(address string) bool { return cert.VerifyHostname(address) != nil })
}

// Expires returns when the node's certificate in dir does.
func Expires(dir string) (time.Time, error) { return expires(Files(dir).Cert) }

func expires(path string) (time.Time, error) {
	cert, err := loadCert(path)
	if err != nil {
		return time.Time{}, err
	}
	return cert.NotAfter, nil
}

// Renew gets the next certificate now.
func (r *Renewer) Renew(ctx context.Context) error {
	node := r.node()
	a, err := loadAuthority(r.o.Dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(r.o.File), 0o700); err != nil {
		return err
	}
	if a.key != nil {
		return a.issue(r.o.File, node, r.o.Lifetime)
	}
	var endpoints []string
	if r.o.Endpoints != nil {
		endpoints = r.o.Endpoints()
	}
	config, err := ClientTLS(r.o.Dir, "")
	if err != nil {
		return err
	}
	// Any node of the cluster may sign; which one answers at an address does not matter.
	print := fingerprint(a.cert)
	config.InsecureSkipVerify = true
	config.VerifyConnection = token{fingerprint: print}.state
	key, csr, err := newRequest(node)
	if err != nil {
		return err
	}
	got, err := askAny(ctx, config, endpoints, renewPath, request{Node: node, Request: csr})
	if err != nil {
		return fmt.Errorf("renew the certificate of %s: %w", node.Name, err)
	}
	if err := checkChain(got.Chain, a.cert, key); err != nil {
		return fmt.Errorf("renew the certificate of %s: %w", node.Name, err)
	}
	return writePair(r.o.File, got.Chain, key)
}
