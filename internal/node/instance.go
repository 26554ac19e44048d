package node

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/act/guard"
	"github.com/backstay/backstay/internal/act/ledger"
	"github.com/backstay/backstay/internal/act/postgres"
	"github.com/backstay/backstay/internal/act/redis"
	"github.com/backstay/backstay/internal/act/rescue"
	"github.com/backstay/backstay/internal/act/script"
	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/cluster/trust"
	"github.com/backstay/backstay/internal/control"
)

// An engine is what the loop acts through, with a life of its own.
type engine interface {
	control.Engine
	Run(ctx context.Context) error
}

// instance is one database, or whatever a service's engine runs, on this node, with the process that guards it.
type instance struct {
	engine
	guard     *guard.Holder
	telling   sync.Mutex // orders what the guard is told
	superuser string     // file with the password of PostgreSQL's superuser
	secrets   []string   // files with passwords that nobody gave: the nodes agree on them
	data      string     // where its data is
	// certificate keeps the one that the cluster's authority issues; nil where there is none, or files of the user's.
	certificate *trust.Renewer
	// configure takes in what may change while it lives.
	configure func(e *config.Engine, peers map[string]string) error

	cancel context.CancelFunc
	done   chan struct{}
}

// place is where a service's instance is to be on this node.
type place struct {
	service config.Service
	data    string
	peers   map[string]string // node → address of its instance
}

// instance makes the engine of a service's instance on this node.
func (s *stateful) instance(c *config.Config, sc config.Service) *instance {
	at := place{service: sc, data: sc.Engine.Fleet().Data, peers: s.peers(c, sc)}
	if at.data == "" {
		at.data = filepath.Join(s.node.options.Data, sc.Name)
	}
	switch e := sc.Engine; {
	case e.Redis != nil:
		return s.redis(at, e.Redis)
	case e.Script != nil:
		return s.script(at, e.Script)
	default: // the configuration has exactly one kind
		return s.postgres(at, e.Postgres)
	}
}

// peers lists where the other instances of a service are.
func (s *stateful) peers(c *config.Config, sc config.Service) map[string]string {
	all := map[string]string{}
	for _, m := range s.declaration(c, sc).Members {
		if m.Node != s.self.Name {
			all[m.Node] = m.Address
		}
	}
	return all
}

func (s *stateful) secret(service, name string) string {
	return filepath.Join(s.node.options.Data, "secrets", service, name)
}

func (s *stateful) postgres(at place, p *config.Postgres) *instance {
	n, name := s.node, at.service.Name
	i := &instance{}
	passwords := postgres.Passwords(p.Passwords)
	if p.Passwords == (config.PostgresPasswords{}) {
		passwords = postgres.Passwords{Superuser: s.secret(name, "superuser"), Replication: s.secret(name, "replication"), Rewind: s.secret(name, "rewind")}
		i.secrets = []string{passwords.Superuser, passwords.Replication, passwords.Rewind}
	}
	i.superuser = passwords.Superuser
	tls := s.instanceTLS(i, name, p.TLS)
	e := postgres.New(postgres.Options{
		Node: s.self.Name, Service: name, DataDir: at.data, DataPath: p.Adopt, BinDir: p.Programs, OSUser: p.User,
		Listen: s.self.Address, Port: p.Port, Peers: at.peers, Parameters: p.Parameters, HBA: p.HBA, Passwords: passwords, TLS: tls, Rescue: limits(p.Rescue),
		PeerPosition:  func(node string) (uint64, bool) { return s.position(name, node) },
		PeerElsewhere: func(node string) bool { return s.elsewhere(name, node) },
		Log:           n.options.Log.With("component", "postgres", "service", name), Append: n.append,
	})
	i.engine, i.guard, i.data = e, s.holder(name, nil, "--lock", ledger.LockIn(at.data), "--data-dir", e.DataPath()), e.DataPath()
	i.configure = func(c *config.Engine, peers map[string]string) error {
		e.SetRescue(limits(c.Postgres.Rescue))
		return e.Configure(peers, c.Postgres.Parameters, c.Postgres.HBA)
	}
	return i
}

func (s *stateful) redis(at place, r *config.Redis) *instance {
	n, name := s.node, at.service.Name
	i := &instance{}
	password := r.Password
	if password == "" {
		password = s.secret(name, "password")
		i.secrets = []string{password}
	}
	e := redis.New(redis.Options{
		Node: s.self.Name, Service: name, DataDir: at.data, Program: r.Program, User: r.User,
		Listen: s.self.Address, Port: r.Port, Peers: at.peers, Password: password, Fsync: r.Fsync,
		MinStandbys: r.MinStandbys, MaxSilence: time.Duration(r.MaxSilence), Parameters: r.Parameters, Rescue: limits(r.Rescue),
		PeerPosition: func(node string) (uint64, bool) { return s.position(name, node) },
		Log:          n.options.Log.With("component", "redis", "service", name), Append: n.append,
	})
	i.engine, i.guard, i.data = e, s.holder(name, nil, "--lock", ledger.LockIn(at.data), "--data-dir", e.DataPath()), e.DataPath()
	i.configure = func(c *config.Engine, peers map[string]string) error {
		e.SetRescue(limits(c.Redis.Rescue))
		e.SetPeers(peers)
		return nil
	}
	return i
}

func limits(r config.Rescue) rescue.Limits {
	return rescue.Limits{Keep: time.Duration(r.Keep), Age: time.Duration(r.Age), Count: r.Count, Size: int64(r.Size)}
}

func (s *stateful) script(at place, c *config.Script) *instance {
	n, name := s.node, at.service.Name
	var env []string
	for k, v := range c.Env {
		env = append(env, k+"="+v)
	}
	slices.Sort(env)
	e := script.New(script.Options{
		Node: s.self.Name, Service: name, DataDir: at.data, Peers: at.peers, Env: env,
		Commands: script.Commands{
			Observe: c.Observe, Promote: c.Promote, Demote: c.Demote, Follow: c.Follow, Create: c.Create, Clone: c.Clone,
			Rewind: c.Rewind, Start: c.Start, Stop: c.Stop, Fence: c.Fence, Checkpoint: c.Checkpoint,
		},
		Every: time.Duration(c.Every), ObserveTimeout: time.Duration(c.Timeout), Timeout: time.Duration(c.Timeout),
		FenceTimeout: time.Duration(c.FenceTimeout),
		Log:          n.options.Log.With("component", "script", "service", name), Append: n.append,
	})
	last := c.Demote // what ends a primary that its node cannot
	for _, words := range [][]string{c.Fence, c.Stop} {
		if len(words) > 0 {
			last = words
		}
	}
	env = append(env, "BACKSTAY_SERVICE="+name, "BACKSTAY_NODE="+s.self.Name, "BACKSTAY_STEP=stop", "BACKSTAY_MODE=immediate")
	what := append([]string{"--"}, last...)
	if len(c.Stop) > 0 { // without, a standby is left to itself, as it is when the node stops
		what = append([]string{"--lock", ledger.LockIn(at.data)}, what...)
	}
	return &instance{
		engine: e, guard: s.holder(name, append(os.Environ(), env...), what...), data: at.data,
		configure: func(_ *config.Engine, peers map[string]string) error { e.SetPeers(peers); return nil },
	}
}

// holder is the node's end of the process that stops an instance which outlives its node's authority.
func (s *stateful) holder(service string, env []string, what ...string) *guard.Holder {
	n := s.node
	program, err := os.Executable()
	if err != nil {
		program = os.Args[0]
	}
	return guard.NewHolder(guard.HolderOptions{
		Command: append([]string{program, "guard"}, what...), Env: env, Log: n.options.Log.With("component", "guard"),
		OnStop: func(why string) {
			n.append(event.Record{Kind: "instance.guarded", Service: service, Member: s.self.Name, Message: "the guard stopped the database", Evidence: why})
		},
	})
}
