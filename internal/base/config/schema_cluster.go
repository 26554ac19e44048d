package config

// Store is where the nodes agree on what holds: an etcd that runs inside the nodes, or one that is there already.
type Store struct {
	// Profile sets all timings of agreement and failover together: lan-fast (one room, cores to spare), lan, or wan (regions apart).
	Profile string `yaml:"profile" default:"lan" enum:"lan-fast,lan,wan" config:"shorthand"`
	// Endpoints are the addresses of an etcd that is there already; without any, the nodes run their own.
	Endpoints []string `yaml:"endpoints"`
	// Port is the first of four ports in a row that nodes use among themselves: reports, the store's clients, the store's members, and joining.
	Port int `yaml:"port" default:"7400" min:"1" max:"65532"`
}

// Engine knows how to observe and change one kind of stateful service, which has one primary and standbys. It has exactly one kind.
type Engine struct {
	// Postgres is PostgreSQL 13 to 18.
	Postgres *Postgres `yaml:"postgres" config:"one"`
}

// Postgres runs PostgreSQL on some of the nodes, with streaming replication, one of them the primary.
type Postgres struct {
	// Nodes run an instance; those named earlier are preferred where nothing else decides.
	Nodes []string `yaml:"nodes" required:"true"`
	// NoFailover lists nodes whose instance never becomes the primary by itself.
	NoFailover []string `yaml:"no_failover"`
	// Protection is max-protection (a write is acknowledged only once a standby has it, even if then nothing can be written), max-availability (the same while a standby can be had; going on alone is agreed by the nodes first) or max-performance (no waiting: a failover may lose the last writes).
	Protection string `yaml:"protection" default:"max-availability" enum:"max-protection,max-availability,max-performance"`
	// Quorum is how many standbys must have a write before it is acknowledged; half of the nodes, rounded down, where not given.
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
	// HoldDown is for how long after a failover the next needs better reasons than the last.
	HoldDown Duration `yaml:"hold_down" default:"30s"`
	// MaxLag is how far a standby may be behind to count for acknowledgement, or to be chosen where writes are not waited for.
	MaxLag Size `yaml:"max_lag" default:"16MiB" min:"1KiB"`
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
