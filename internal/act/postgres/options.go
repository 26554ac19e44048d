package postgres

import (
	"log/slog"
	"time"

	"github.com/backstay/backstay/internal/act/rescue"
	"github.com/backstay/backstay/internal/base/event"
)

// Options say where an instance lives and how it is reached. Zero values are useful where a default is named.
type Options struct {
	// Node and Service name what the engine is for; the standby's application_name is Node.
	Node, Service string
	// DataDir is the root of all that the engine keeps: pgdata, the socket, its own configuration, the epoch, rescued WAL.
	DataDir string
	// DataPath is PostgreSQL's data directory; DataDir/pgdata where empty. Set it to adopt a cluster that exists.
	DataPath string
	// BinDir holds PostgreSQL's programs; looked for where empty.
	BinDir string
	// OSUser is the user PostgreSQL runs as when the node runs as root; postgres where empty.
	OSUser string
	// Listen is the address clients and members connect to, 127.0.0.1 where empty; Port is 5432 where 0.
	Listen string
	Port   int
	// Peers are the other nodes of the service: name → host:port of their instance.
	Peers map[string]string
	// Parameters are the user's, on top of the safe defaults; see CheckParameters.
	Parameters map[string]string
	// HBA are the user's lines of pg_hba.conf, asked after Backstay's own and before the default for members.
	HBA []string
	// Superuser is the database's superuser; postgres where empty.
	Superuser string
	// Passwords are files (mode 0600) that hold one password each.
	Passwords Passwords
	// Rescue bounds what is put aside before it is given up.
	Rescue rescue.Limits
	// TLS is how members and clients are encrypted; nil for not at all.
	TLS *TLS
	// PeerPosition tells how far a peer is, so that a standby keeps no more WAL for it than it needs; may be nil.
	PeerPosition func(node string) (uint64, bool) `json:"-"`
	// PeerElsewhere says whether a peer streams from another instance than this one, so that a primary, too, keeps no more WAL
	// for it than it needs; may be nil.
	PeerElsewhere func(node string) bool `json:"-"`
	// StopTimeout bounds a fast stop before it becomes an immediate one; 30 s where 0. A Demote waits HandoverTimeout for
	// the standbys to take the rest, 5 s where 0.
	StopTimeout, HandoverTimeout time.Duration
	// ProbeEvery and ProbeTimeout are of the probing write; 1 s and 2 s where 0. QueryTimeout bounds a look at the
	// instance, 500 ms where 0.
	ProbeEvery, ProbeTimeout, QueryTimeout time.Duration
	// Log is for debugging; Append records what people should know.
	Log    *slog.Logger       `json:"-"`
	Append func(event.Record) `json:"-"`
}

// Passwords are paths of files with one password each, readable by nobody else.
type Passwords struct{ Superuser, Replication, Rewind string }

// TLS are paths of PEM files: the instance's certificate and key, and the authority that signed the members'.
// Full says that a member's certificate has to be for the address it is reached at, as Go's and libpq's verify-full want.
type TLS struct {
	Cert, Key, CA string
	Full          bool
}

// Roles that members use among themselves.
const (
	replicator = "backstay_replicator"
	rewinder   = "backstay_rewinder"
)
