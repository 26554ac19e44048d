package trust

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/cluster"
)

const (
	tokenPrefix = "backstay"
	inviteKey   = "cluster/invite/" // + id
	maxInvites  = 100
)

// ErrRefused says that a token is not good: unknown, used, expired or for another node.
var ErrRefused = errors.New("the token is refused")

// A Store is what invitations need of the cluster's store.
type Store interface {
	Get(ctx context.Context, key string) (cluster.KV, error)
	List(ctx context.Context, prefix string) ([]cluster.KV, int64, error)
	Put(ctx context.Context, key string, value []byte, previous int64) (int64, error)
	Delete(ctx context.Context, key string, previous int64) error
}

// An Invitation says what a token is good for.
type Invitation struct {
	TTL  time.Duration // 1 h by default, at most 24 h
	Node string        // the only node that may use it; "": any
	// Plain leaves the authority's key away: the node then has its certificate renewed by the others.
	Plain bool
	By    string // who invites, for the record
}

// An invite is what the store keeps of a token: never the secret.
type invite struct {
	Hash    string    `json:"hash"`
	Node    string    `json:"node,omitempty"`
	Plain   bool      `json:"plain,omitempty"`
	By      string    `json:"by,omitempty"`
	Expires time.Time `json:"expires"`
	UsedBy  string    `json:"used_by,omitempty"`  // node
	UsedKey string    `json:"used_key,omitempty"` // hash of its public key: the same joining again, after a lost answer
}

// A token is what the joining node is given, out of band.
type token struct{ id, secret, fingerprint string }

// String is the form in which people carry it.
func (t token) String() string {
	return strings.Join([]string{tokenPrefix, t.id, t.secret, t.fingerprint}, ".")
}

func parseToken(text string) (token, error) {
	parts := strings.Split(strings.TrimSpace(text), ".")
	if len(parts) != 4 || parts[0] != tokenPrefix || parts[1] == "" || parts[2] == "" || len(parts[3]) != 2*sha256.Size {
		return token{}, fmt.Errorf("%w: it is not one of `backstay cluster invite`: check that it was copied whole", ErrRefused)
	}
	return token{id: parts[1], secret: parts[2], fingerprint: parts[3]}, nil
}

// Invite returns a token by which one node can join the cluster whose authority is in dir, once.
func Invite(ctx context.Context, store Store, dir string, i Invitation) (string, error) {
	if i.TTL == 0 {
		i.TTL = time.Hour
	}
	if i.TTL < 0 || i.TTL > 24*time.Hour {
		return "", fmt.Errorf("a token that is valid for %v: at most 24h", i.TTL)
	}
	print, err := Fingerprint(dir)
	if err != nil {
		return "", err
	}
	if err := sweep(ctx, store); err != nil {
		return "", err
	}
	t := token{id: strings.ToLower(rand.Text()[:10]), secret: rand.Text(), fingerprint: print}
	record, err := json.Marshal(invite{Hash: hash(t.secret), Node: i.Node, Plain: i.Plain, By: i.By, Expires: time.Now().Add(i.TTL).UTC()})
	if err != nil {
		return "", err
	}
	if _, err := store.Put(ctx, inviteKey+t.id, record, cluster.Absent); err != nil {
		return "", fmt.Errorf("invite: %w", err)
	}
	return t.String(), nil
}

// sweep removes expired invitations and refuses to keep too many.
func sweep(ctx context.Context, store Store) error {
	all, _, err := store.List(ctx, inviteKey)
	if err != nil {
		return fmt.Errorf("invite: %w", err)
	}
	left := 0
	for _, kv := range all {
		var i invite
		if json.Unmarshal(kv.Value, &i) == nil && time.Now().Before(i.Expires) {
			left++
			continue
		}
		if err := store.Delete(ctx, kv.Key, kv.Revision); err != nil && !errors.Is(err, cluster.ErrConflict) {
			return fmt.Errorf("invite: %w", err)
		}
	}
	if left >= maxInvites {
		return fmt.Errorf("invite: %d invitations are open; wait until some have expired", left)
	}
	return nil
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// redeem uses a token up for a node with a public key, and only for those.
func redeem(ctx context.Context, store Store, id, secret, node, key string) (invite, error) {
	kv, err := store.Get(ctx, inviteKey+id)
	if errors.Is(err, cluster.ErrNotFound) {
		return invite{}, fmt.Errorf("%w: it is not known; it may have expired", ErrRefused)
	}
	if err != nil {
		return invite{}, err
	}
	var i invite
	if err := json.Unmarshal(kv.Value, &i); err != nil {
		return invite{}, err
	}
	switch {
	case subtle.ConstantTimeCompare([]byte(i.Hash), []byte(hash(secret))) != 1:
		return invite{}, fmt.Errorf("%w: it is not known; it may have expired", ErrRefused)
	case !time.Now().Before(i.Expires):
		return invite{}, fmt.Errorf("%w: it expired at %s", ErrRefused, i.Expires.Format(time.RFC3339))
	case i.Node != "" && i.Node != node:
		return invite{}, fmt.Errorf("%w: it is for node %s, not %s", ErrRefused, i.Node, node)
	case i.UsedBy == node && i.UsedKey == key:
		return i, nil
	case i.UsedBy != "":
		return invite{}, fmt.Errorf("%w: it was used by node %s", ErrRefused, i.UsedBy)
	}
	i.UsedBy, i.UsedKey = node, key
	record, err := json.Marshal(i)
	if err != nil {
		return invite{}, err
	}
	if _, err := store.Put(ctx, kv.Key, record, kv.Revision); errors.Is(err, cluster.ErrConflict) {
		return invite{}, fmt.Errorf("%w: it was used at the same moment by another node", ErrRefused)
	} else if err != nil {
		return invite{}, err
	}
	return i, nil
}
