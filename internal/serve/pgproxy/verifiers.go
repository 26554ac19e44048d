package pgproxy

import (
	"context"
	"sync"
	"time"
)

// A Lookup reads what the primary of a service keeps of a role's password, as in pg_authid.rolpassword; empty where there is no such
// role, or it has none. seed is the same on all nodes, and secret: what clients are asked who give another name is made from it.
type Lookup func(ctx context.Context, service, address, role string) (password string, seed []byte, err error)

const (
	// verifierAge is for how long a verifier is not asked for again. A changed password counts at the latest after it.
	verifierAge = time.Second
	// verifierTime bounds a look. Without an answer the server asks the client itself.
	verifierTime = 3 * time.Second
	maxVerifiers = 1000
)

// verifiers keeps those of roles that log in often.
type verifiers struct {
	lookup Lookup

	mu    sync.Mutex
	known map[[2]string]*looked
}

// looked is one look at a role.
type looked struct {
	at   time.Time
	done chan struct{}
	v    verifier
	ok   bool
}

// get returns the verifier of a role; where the role is not known, or has no such password, one that nothing is right for. It says
// false where the primary could not be asked.
func (k *verifiers) get(ctx context.Context, service, address, role string) (verifier, bool) {
	if k.lookup == nil {
		return verifier{}, false
	}
	key := [2]string{service, role}
	k.mu.Lock()
	l := k.known[key]
	if l == nil || time.Since(l.at) > verifierAge {
		if k.known == nil || len(k.known) >= maxVerifiers {
			k.known = map[[2]string]*looked{}
		}
		l = &looked{at: time.Now(), done: make(chan struct{})}
		k.known[key] = l
		go k.look(l, service, address, role)
	}
	k.mu.Unlock()
	select {
	case <-l.done:
	case <-ctx.Done():
		return verifier{}, false
	}
	if !l.ok {
		k.drop(service, role)
	}
	return l.v, l.ok
}

func (k *verifiers) look(l *looked, service, address, role string) {
	defer close(l.done)
	ctx, cancel := context.WithTimeout(context.Background(), verifierTime)
	defer cancel()
	password, seed, err := k.lookup(ctx, service, address, role)
	if err != nil {
		return
	}
	l.ok = true
	var scram bool
	if l.v, scram = parseVerifier(password); !scram {
		l.v = mockVerifier(seed, role)
	}
}

// drop forgets a role's.
func (k *verifiers) drop(service, role string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.known, [2]string{service, role})
}
