package node

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/cluster/versions"
)

// loaded is a configuration that was read and found valid.
type loaded struct {
	config   *config.Config
	source   string
	revision string
	version  *versions.Version // nil: it is of a file
}

// load reads a configuration from a file.
func load(path string) (*loaded, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return parse(path, text)
}

func parse(name string, text []byte) (*loaded, error) {
	c, err := config.Parse(name, text)
	if err != nil {
		return nil, err
	}
	return &loaded{config: c, source: name, revision: revision(text)}, nil
}

// parseVersion reads a version of the cluster's configuration.
func parseVersion(v versions.Version) (*loaded, error) {
	l, err := parse(title(v), []byte(v.Text))
	if err == nil {
		l.version = &v
	}
	return l, err
}

func revision(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:4])
}

// title is how people know a version.
func title(v versions.Version) string { return fmt.Sprintf("version %d of the cluster", v.Number) }

// credit says who applied a version, and why.
func credit(v versions.Version) string {
	s := fmt.Sprintf("applied by %s on %s at %s", v.By, v.Node, v.Time.Format(time.RFC3339))
	if v.Message != "" {
		s += fmt.Sprintf(" (%s)", v.Message)
	}
	return s
}

func copyFile(data string) string { return filepath.Join(data, "configuration.json") }

// readCopy returns this node's copy of the cluster's newest version; nil where there is none.
func readCopy(data string) (*versions.Version, error) {
	text, err := os.ReadFile(copyFile(data))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var v versions.Version
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		return nil, fmt.Errorf("this node's copy of the cluster's configuration, %s: %w", copyFile(data), err)
	}
	return &v, nil
}

// writeCopy keeps a version for the next start, whether or not the store is there then.
func writeCopy(data string, v versions.Version) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(data, ".configuration.*") // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), copyFile(data))
}

// begin lists the configurations that the node may start with, the best first: its copy of the cluster's, then the file. It
// fails where there is none.
func begin(o Options) (candidates []*loaded, err error) {
	v, kept := readCopy(o.Data)
	if v != nil {
		var l *loaded
		if l, kept = parseVersion(*v); kept == nil {
			candidates = append(candidates, l)
		}
	}
	if o.Config != "" {
		l, err := load(o.Config)
		switch {
		case err == nil:
			candidates = append(candidates, l)
		case len(candidates) == 0:
			return nil, errors.Join(kept, err)
		}
	}
	if len(candidates) == 0 {
		return nil, errors.Join(kept, errors.New("no configuration: say which with --config; it can be left out once this node has followed a `backstay apply`"))
	}
	return candidates, nil
}

// differing returns the path of the node's file where that says something else than a version.
func (o Options) differing(v versions.Version) string {
	if o.Config == "" {
		return ""
	}
	if text, err := os.ReadFile(o.Config); err != nil || string(text) == v.Text {
		return ""
	}
	return o.Config
}
