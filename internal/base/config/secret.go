package config

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
)

// hidden stands wherever a secret would be printed.
const hidden = "***"

// Secret is a string that is never printed. In YAML it is the text itself, {env: NAME} or {file: PATH}.
type Secret struct {
	// Text is the secret itself, where the file has it in the clear.
	Text string
	// Env names the environment variable that holds it.
	Env string
	// File is the path of the file that holds it.
	File string
}

// Reveal returns the secret itself: the text, or the environment variable or file without one trailing newline.
// A variable that is not set and a file that cannot be read are errors.
func (s Secret) Reveal() (string, error) {
	switch {
	case s.Env != "":
		value, set := os.LookupEnv(s.Env)
		if !set {
			return "", fmt.Errorf("the environment variable %s, which holds a secret, is not set: set it where backstay is started", s.Env)
		}
		return chomp(value), nil
	case s.File != "":
		content, err := os.ReadFile(s.File)
		if err != nil {
			return "", fmt.Errorf("read a secret: %w", err)
		}
		return chomp(string(content)), nil
	}
	return s.Text, nil
}

// chomp drops one newline from the end, which editors and shells leave there.
func chomp(s string) string {
	line, ended := strings.CutSuffix(s, "\n")
	if !ended {
		return s
	}
	return strings.TrimSuffix(line, "\r")
}

// String hides the secret.
func (Secret) String() string { return hidden }

// GoString hides the secret from %#v.
func (Secret) GoString() string { return hidden }

// Format hides the secret from every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue hides the secret from logs.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the secret from JSON and whatever else writes text.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// MarshalYAML hides the secret from YAML. Show, which can tell where a secret comes from, does not use it.
func (Secret) MarshalYAML() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }
