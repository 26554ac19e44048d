// Package config is the desired state of a cluster as people write it: the schema, its defaults, strict parsing that
// tells every mistake with its place, and what differs between two configurations.
//
// It is pure data. Only Load and Secret.Reveal touch files or the environment, and nothing here knows who uses the
// configuration.
package config

import (
	"fmt"
	"os"
)

// Parse reads and validates a configuration; name is the file's name in messages. The error is a Problems with
// everything that is wrong, each at its place. Defaults are filled in.
func Parse(name string, text []byte) (*Config, error) {
	panic("being written")
}

// Load reads the file at path and parses it.
func Load(path string) (*Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return Parse(path, text)
}

// Default returns a T, one of the schema's structs, with the defaults of its fields filled in.
func Default[T any]() T {
	panic("being written")
}

// Show writes the configuration as YAML with every default filled in, in the schema's order. Secrets are hidden, and
// optional sections that are not configured are left out. Parsing it again gives the same configuration, hidden secrets aside.
func Show(c *Config) ([]byte, error) {
	panic("being written")
}
