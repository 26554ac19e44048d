package trust

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// RenewerOptions say whose certificate is kept fresh. Dir and Node are required.
type RenewerOptions struct {
	Dir  string
	Node Node
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
	return &Renewer{o: o}
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
			until, _ := Expires(r.o.Dir)
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
	cert, err := loadCert(Files(r.o.Dir).Cert)
	if err != nil {
		return 0, fmt.Errorf("this node's certificate: %w", err)
	}
	issued := cert.NotBefore.Add(clockSkew)
	life := cert.NotAfter.Sub(issued)
	spread := rand.New(rand.NewPCG(cert.SerialNumber.Uint64(), 0)).Float64() / 10
	return time.Until(issued.Add(time.Duration(float64(life) * (0.45 + spread)))), nil
}

// Expires returns when the node's certificate in dir does.
func Expires(dir string) (time.Time, error) {
	cert, err := loadCert(Files(dir).Cert)
	if err != nil {
		return time.Time{}, err
	}
	return cert.NotAfter, nil
}

// Renew gets the next certificate now.
func (r *Renewer) Renew(ctx context.Context) error {
	err := Issue(r.o.Dir, r.o.Node, r.o.Lifetime)
	if !errors.Is(err, ErrNoAuthority) {
		return err
	}
	var endpoints []string
	if r.o.Endpoints != nil {
		endpoints = r.o.Endpoints()
	}
	config, err := ClientTLS(r.o.Dir, "")
	if err != nil {
		return err
	}
	a, err := loadAuthority(r.o.Dir)
	if err != nil {
		return err
	}
	// Any node of the cluster may sign; which one answers at an address does not matter.
	print := fingerprint(a.cert)
	config.InsecureSkipVerify = true
	config.VerifyConnection = token{fingerprint: print}.state
	key, csr, err := newRequest(r.o.Node)
	if err != nil {
		return err
	}
	got, err := askAny(ctx, config, endpoints, renewPath, request{Node: r.o.Node, Request: csr})
	if err != nil {
		return fmt.Errorf("renew the certificate of %s: %w", r.o.Node.Name, err)
	}
	if err := checkChain(got.Chain, a.cert, key); err != nil {
		return fmt.Errorf("renew the certificate of %s: %w", r.o.Node.Name, err)
	}
	return writePair(r.o.Dir, got.Chain, key)
}
