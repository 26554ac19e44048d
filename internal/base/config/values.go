package config

import "time"

// Duration is a length of time; in YAML it carries its unit: 250ms, 1m30s, 7d.
type Duration time.Duration

// Size is a number of bytes; in YAML it carries its unit: 512B, 64KiB, 1MiB, 10MB.
type Size int64

// Percent is a share of a hundred; in YAML 20% or 20.
type Percent float64

// Secret is a string that is never printed. In YAML it is the text itself, {env: NAME} or {file: PATH}.
type Secret struct {
	Text string
	Env  string
	File string
}
