package config

// Store is where the nodes agree on what holds: an etcd that runs inside the nodes, or one that is there already.
type Store struct {
	// Profile sets all timings of agreement and failover together: lan-fast (one room, cores to spare), lan, or wan (regions apart).
	Profile string `yaml:"profile" default:"lan" enum:"lan-fast,lan,wan" config:"shorthand"`
	// Endpoints are the addresses of an etcd that is there already, as https://HOST:PORT, or http://HOST:PORT without encryption; without any, the nodes run their own.
	Endpoints []string `yaml:"endpoints"`
	// TLS is how nodes know that etcd, and show themselves to it.
	TLS *StoreTLS `yaml:"tls"`
	// User is the nodes' name at that etcd, where it asks for one.
	User string `yaml:"user"`
	// Password is a file with user's password, readable by nobody else.
	Password string `yaml:"password"`
	// Port is the first of four ports in a row that nodes use among themselves: reports, the store's clients, the store's members, and joining.
	Port int `yaml:"port" default:"7400" min:"1" max:"65532"`
}

// StoreTLS are PEM files for connections to an etcd that is there already.
type StoreTLS struct {
	// CA is a file with the certificates of the authorities that are trusted; the system's where not given.
	CA string `yaml:"ca"`
	// Cert is a file with the nodes' certificate, where etcd asks for one.
	Cert string `yaml:"cert"`
	// Key is a file with the certificate's private key.
	Key string `yaml:"key"`
}

// Engine knows how to observe and change one kind of stateful service, which has one primary and standbys. It has exactly one kind.
type Engine struct {
	// Postgres is PostgreSQL 13 to 18.
	Postgres *Postgres `yaml:"postgres" config:"one"`
	// Redis is Redis 7, whose replication is asynchronous: a failover may lose the last writes.
	Redis *Redis `yaml:"redis" config:"one"`
	// Script is any service with one primary and standbys that commands are given for.
	Script *Script `yaml:"script" config:"one"`
}

// Postgres runs PostgreSQL on some of the nodes, with streaming replication, one of them the primary.
type Postgres struct {
	// Nodes run an instance; those named earlier are preferred where nothing else decides.
	Nodes []string `yaml:"nodes" required:"true"`
	// NoFailover lists nodes whose instance never becomes the primary by itself.
	NoFailover []string `yaml:"no_failover"`
	// Async lists nodes whose instance no write waits for, such as one in another region. One becomes the primary by itself only where writes are not waited for at all, and nobody else has as much.
	Async []string `yaml:"async"`
	// Cascade lists nodes whose instance follows a standby of its own region as long as one is there, and the primary otherwise. No write waits for it, and it never becomes the primary by itself.
	Cascade []string `yaml:"cascade"`
	// Protection is max-protection (a write is acknowledged only once a standby has it, even if then nothing can be written), max-availability (the same while a standby can be had; going on alone is agreed by the nodes first) or max-performance (no waiting: a failover may lose the last writes).
	Protection string `yaml:"protection" default:"max-availability" enum:"max-protection,max-availability,max-performance"`
	// Quorum is how many standbys must have a write before it is acknowledged; half of the nodes but for async and cascade ones, rounded down, where not given.
	Quorum int `yaml:"quorum" min:"0" max:"9"`
	// Port is where instances listen, on their node's address.
	Port int `yaml:"port" default:"5433" min:"1" max:"65535"`
	// Data is the folder of the instance, its WAL that was put aside, and its settings; below the node's data folder where not given.
	Data string `yaml:"data"`
	// Adopt is the data directory of an instance that exists already and is taken over.
	Adopt string `yaml:"adopt"`
	// Programs is the folder of PostgreSQL's programs; looked for where not given.
	Programs string `yaml:"programs"`
	// User is the operating system's user that PostgreSQL runs as, where the node runs as root.
	User string `yaml:"user" default:"postgres"`
	// Parameters are PostgreSQL's own, on top of safe defaults. Those that Backstay needs are refused here.
	Parameters map[string]string `yaml:"parameters"`
	// HBA are lines of pg_hba.conf for clients.
	HBA []string `yaml:"hba"`
	// Passwords are files with one password each, the same on all nodes; made by backstay init, and passed on to nodes that join, where not given.
	Passwords PostgresPasswords `yaml:"passwords"`
	// TLS is how instances show who they are, to each other and to clients. Replication always uses it where it is not off; clients may.
	TLS PostgresTLS `yaml:"tls"`
	// HoldDown is for how long after a failover the next needs better reasons than the last.
	HoldDown Duration `yaml:"hold_down" default:"30s"`
	// MaxLag is how far a standby may be behind to count for acknowledgement, or to be chosen where writes are not waited for.
	MaxLag Size `yaml:"max_lag" default:"16MiB" min:"1KiB"`
	// Rescue bounds what is put aside below data before it is given up.
	Rescue Rescue `yaml:"rescue"`
}

// PostgresTLS is the certificate of an instance. Where no files are given the cluster's own authority issues it, good for the addresses of all nodes, and renews it.
type PostgresTLS struct {
	// Off turns TLS off; so does the word off in place of the whole section.
	Off bool `yaml:"off" config:"off"`
	// Cert is a PEM file with the instance's certificate and its chain, at the same path on each node. It is read again when it changes.
	Cert string `yaml:"cert"`
	// Key is the PEM file with its private key.
	Key string `yaml:"key"`
	// CA is a PEM file with the authorities that members' certificates are held against.
	CA string `yaml:"ca"`
	// Verify is full (a member's certificate is for the address that it is reached at) or ca (one of the authorities has issued it).
	Verify string `yaml:"verify" default:"full" enum:"full,ca"`
}

// PostgresPasswords are files of mode 0600 with one password each.
type PostgresPasswords struct {
	// Superuser is that of postgres, for clients that connect over the network.
	Superuser string `yaml:"superuser"`
	// Replication is that of the role by which standbys replicate.
	Replication string `yaml:"replication"`
	// Rewind is that of the role by which a former primary compares its data with the new one's.
	Rewind string `yaml:"rewind"`
}

// Rescue bounds what an engine puts aside before it gives it up, such as what a former primary alone had written.
type Rescue struct {
	// Keep is for how long nothing is removed, whatever the other bounds say: it may be the only copy.
	Keep Duration `yaml:"keep" default:"7d" min:"1h"`
	// Age is after how long it is removed.
	Age Duration `yaml:"age" default:"90d" min:"1h"`
	// Count is how many are kept; of more the oldest are removed.
	Count int `yaml:"count" default:"20" min:"1"`
	// Size is how much room all of them may take; of more the oldest are removed.
	Size Size `yaml:"size" default:"20GiB" min:"1MiB"`
}

// Redis runs Redis on some of the nodes, one of them the primary. Its replication is asynchronous: what was acknowledged a moment before a primary died may be lost, and nothing that Backstay does can change that.
type Redis struct {
	// Nodes run an instance; those named earlier are preferred where nothing else decides.
	Nodes []string `yaml:"nodes" required:"true"`
	// NoFailover lists nodes whose instance never becomes the primary by itself.
	NoFailover []string `yaml:"no_failover"`
	// Protection can only be max-performance: Redis acknowledges a write before any standby has it, and WAIT only tells a client afterwards how many do. It can be given so that a file says what is promised.
	Protection string `yaml:"protection" default:"max-performance" enum:"max-protection,max-availability,max-performance"`
	// Port is where instances listen, on their node's address.
	Port int `yaml:"port" default:"6380" min:"1" max:"65535"`
	// Data is the folder of the instance's files, of what was put aside, and of its settings; below the node's data folder where not given.
	Data string `yaml:"data"`
	// Program is redis-server; looked for where not given.
	Program string `yaml:"program"`
	// User is the operating system's user that Redis runs as, where the node runs as root.
	User string `yaml:"user" default:"redis"`
	// Fsync is always (each write is on the primary's disk before it is acknowledged) or everysec (a power failure may take the last second with it).
	Fsync string `yaml:"fsync" default:"everysec" enum:"always,everysec"`
	// MinStandbys is how many standbys must have been heard within max_silence for the primary to take writes. It bounds how much an isolated primary can accept in vain, and stops writes while they are away. It is no guarantee that they have a write.
	MinStandbys int `yaml:"min_standbys" min:"0" max:"9"`
	// MaxSilence is for how long a standby counts for min_standbys after it was heard, in whole seconds.
	MaxSilence Duration `yaml:"max_silence" default:"10s" min:"1s"`
	// Parameters are Redis' own, as lines of redis.conf, on top of safe defaults. Those that Backstay needs are refused here.
	Parameters map[string]string `yaml:"parameters"`
	// Password is a file with the password of clients and members, the same on all nodes; made by the first node, and passed on to the others as secrets/SERVICE/password below their data folders, where not given.
	Password string `yaml:"password"`
	// HoldDown is for how long after a failover the next needs better reasons than the last.
	HoldDown Duration `yaml:"hold_down" default:"30s"`
	// MaxLag is how far a standby may be behind to be chosen.
	MaxLag Size `yaml:"max_lag" default:"16MiB" min:"1KiB"`
	// Rescue bounds what is put aside below data before it is given up.
	Rescue Rescue `yaml:"rescue"`
}

// Script runs commands to observe and change the instances of a service on some of the nodes, one of them the primary. Commands are programs with arguments, run without a shell as the node's user. They are told what it is about by BACKSTAY_SERVICE, BACKSTAY_NODE, BACKSTAY_EPOCH, BACKSTAY_STEP, BACKSTAY_UPSTREAM, BACKSTAY_UPSTREAM_ADDRESS and BACKSTAY_MODE, may be run again for the same step, and succeed by exit status 0; the last lines that they print are the reason of a failure.
type Script struct {
	// Nodes have an instance; those named earlier are preferred where nothing else decides.
	Nodes []string `yaml:"nodes" required:"true"`
	// NoFailover lists nodes whose instance never becomes the primary by itself.
	NoFailover []string `yaml:"no_failover"`
	// Protection can only be max-performance: whether a write waits for standbys is the service's own affair.
	Protection string `yaml:"protection" default:"max-performance" enum:"max-protection,max-availability,max-performance"`
	// Port is where instances listen, on their node's address.
	Port int `yaml:"port" required:"true" min:"1" max:"65535"`
	// Data is the folder where the engine keeps the epoch, and where commands run; below the node's data folder where not given.
	Data string `yaml:"data"`
	// Observe prints what there is, as JSON or a line key=value each: role (primary, standby or none), and where they apply running, writable, empty, streaming (true or false), upstream (a node), position, applied (how much data), timeline (grows with each promotion), system_id, standbys (b:120,c:118) and problem.
	Observe []string `yaml:"observe" required:"true"`
	// Promote makes the instance, which follows nobody, take writes.
	Promote []string `yaml:"promote" required:"true"`
	// Demote makes the instance take no writes and follow nobody, whatever it was.
	Demote []string `yaml:"demote" required:"true"`
	// Follow makes a standby of the instance that replicates from BACKSTAY_UPSTREAM, at BACKSTAY_UPSTREAM_ADDRESS.
	Follow []string `yaml:"follow" required:"true"`
	// Create makes a new, empty primary of an instance that observe calls empty; start and promote do it where not given.
	Create []string `yaml:"create"`
	// Clone copies the upstream's data in place of what is there, and follows it; follow does it where not given.
	Clone []string `yaml:"clone"`
	// Rewind puts aside what the upstream does not have, and follows it; clone does it where not given.
	Rewind []string `yaml:"rewind"`
	// Start runs the instance as what it was. Without it the instance is expected to run by itself.
	Start []string `yaml:"start"`
	// Stop ends the instance; BACKSTAY_MODE is fast or immediate. Without it an instance is demoted instead, and left running when the node stops.
	Stop []string `yaml:"stop"`
	// Fence does what demote does, and quickly; demote does it where not given. Where it fails the instance is stopped.
	Fence []string `yaml:"fence"`
	// Checkpoint prepares for a quick stop.
	Checkpoint []string `yaml:"checkpoint"`
	// Every is the time between looks.
	Every Duration `yaml:"every" default:"1s" min:"100ms"`
	// Timeout bounds observe, demote, promote, follow, start and stop; one that takes longer is killed with all that it started. Create, clone and rewind take as long as they take.
	Timeout Duration `yaml:"timeout" default:"30s" min:"100ms"`
	// FenceTimeout bounds fence.
	FenceTimeout Duration `yaml:"fence_timeout" default:"5s" min:"100ms"`
	// Env are further variables for the commands.
	Env map[string]string `yaml:"env"`
	// HoldDown is for how long after a failover the next needs better reasons than the last.
	HoldDown Duration `yaml:"hold_down" default:"30s"`
	// MaxLag is how far a standby's position may be behind to be chosen.
	MaxLag Size `yaml:"max_lag" default:"16MiB" min:"1KiB"`
}

// A Fleet is what engines of all kinds have in common: where instances are, and what is expected of them.
type Fleet struct {
	Kind       string // postgres, redis or script
	Nodes      []string
	NoFailover []string
	Async      []string
	Cascade    []string
	Protection string
	Quorum     int
	Port       int
	Data       string
	HoldDown   Duration
	MaxLag     Size
}

// Fleet returns what the engine has in common with others; of an engine without a kind, nothing.
func (e *Engine) Fleet() Fleet {
	switch {
	case e.Postgres != nil:
		p := e.Postgres
		return Fleet{"postgres", p.Nodes, p.NoFailover, p.Async, p.Cascade, p.Protection, p.Quorum, p.Port, p.Data, p.HoldDown, p.MaxLag}
	case e.Redis != nil:
		r := e.Redis
		return Fleet{"redis", r.Nodes, r.NoFailover, nil, nil, r.Protection, 0, r.Port, r.Data, r.HoldDown, r.MaxLag}
	case e.Script != nil:
		s := e.Script
		return Fleet{"script", s.Nodes, s.NoFailover, nil, nil, s.Protection, 0, s.Port, s.Data, s.HoldDown, s.MaxLag}
	}
	return Fleet{}
}
