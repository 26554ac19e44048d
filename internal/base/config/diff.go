package config

// Op is what happened to a part of the configuration.
type Op string

// What can happen to a part of the configuration.
const (
	Added   Op = "added"
	Removed Op = "removed"
	Changed Op = "changed"
)

// Change is one difference between two configurations.
type Change struct {
	Op Op `json:"op"`
	// Path names what differs, lists by name: services.web.members.10.0.0.11:8080.weight.
	Path string `json:"path"`
	// Old and New are the values as text, secrets hidden. Old is empty for what was added, New for what was removed.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
}

// Diff lists what differs between two configurations, in the schema's order. A nil one counts as empty.
func Diff(old, new *Config) []Change { panic("being written") }

// String writes the change for people: services.web.retry.attempts: 3 → 5.
func (c Change) String() string { panic("being written") }
