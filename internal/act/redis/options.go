// Package redis is the engine for Redis 7: it creates, clones, runs, fences, promotes and takes back the one instance of its
// own node, as a child process, and says what it sees of it. It knows no rules: what is to be done and when is decided
// elsewhere and arrives as steps. DESIGN.md says how each step keeps its promise, and what Redis cannot promise.
package redis

import (
	"log/slog"
	"time"

	"github.com/backstay/backstay/internal/act/rescue"
	"github.com/backstay/backstay/internal/base/event"
)

// Options say where an instance lives and how it is reached. Zero values are useful where a default is named.
type Options struct {
	// Node and Service name what the engine is for.
	Node, Service string
	// DataDir is the root of all that the engine keeps: Redis' files, its configuration, the epoch, what was put aside.
	DataDir string
	// Program is redis-server; looked for in PATH where empty.
	Program string
	// User is whom Redis runs as when the node runs as root; redis where empty.
	User string
	// Listen is the address clients and members connect to, 127.0.0.1 where empty; Port is 6379 where 0.
	Listen string
	Port   int
	// Peers are the other nodes of the service: name → host:port of their instance.
	Peers map[string]string
	// Password is a file with the password of clients and members, the same on all nodes; none where empty.
	Password string
	// Fsync is always or everysec, the default: whether each write is on disk before it is acknowledged.
	Fsync string
	// MinStandbys is how many standbys must have been heard within MaxSilence (10 s where 0) for writes to be taken.
	MinStandbys int
	MaxSilence  time.Duration
	// Parameters are lines of redis.conf, on top of the safe defaults; see CheckParameters.
	Parameters map[string]string
	// Rescue bounds what is put aside before it is given up.
	Rescue rescue.Limits
	// PeerPosition tells how far a peer says it is: standbys tell their primary only once a second. May be nil.
	PeerPosition func(node string) (uint64, bool) `json:"-"`
	// StopTimeout bounds a fast stop before it becomes a hard one, 10 s where 0; HandoverTimeout how long a primary that
	// steps down waits for its standbys, 5 s where 0.
	StopTimeout, HandoverTimeout time.Duration
	// ProbeEvery and ProbeTimeout are of the probing write, 1 s and 2 s where 0; QueryTimeout bounds a look, 500 ms where 0.
	ProbeEvery, ProbeTimeout, QueryTimeout time.Duration
	// Log is for debugging; Append records what people should know.
	Log    *slog.Logger       `json:"-"`
	Append func(event.Record) `json:"-"`
}

func (o Options) withDefaults() Options {
	for p, v := range map[*string]string{&o.User: "redis", &o.Listen: "127.0.0.1", &o.Fsync: "everysec", &o.Program: "redis-server"} {
		if *p == "" {
			*p = v
		}
	}
	for p, v := range map[*time.Duration]time.Duration{
		&o.MaxSilence: 10 * time.Second, &o.StopTimeout: 10 * time.Second, &o.HandoverTimeout: 5 * time.Second,
		&o.ProbeEvery: time.Second, &o.ProbeTimeout: 2 * time.Second, &o.QueryTimeout: 500 * time.Millisecond,
	} {
		if *p == 0 {
			*p = v
		}
	}
	if o.Port == 0 {
		o.Port = 6379
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}
