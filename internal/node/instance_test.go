package node

import (
	"log/slog"
	"path/filepath"
	"slices"
	"testing"

	"github.com/backstay/backstay/internal/base/config"
)

// Every kind of engine can be put together from its example, and what is asked of all services is answered for it.
func TestInstancesOfEveryKind(t *testing.T) {
	for name, want := range map[string]struct {
		protection string
		address    string
		secrets    []string
	}{
		"postgres": {"max-availability", "10.0.0.2:5433", []string{"superuser", "replication", "rewind"}},
		"redis":    {"max-performance", "10.0.0.2:6380", nil}, // its password is given
		"script":   {"max-performance", "10.0.0.2:1389", nil},
	} {
		c, err := config.Load(filepath.Join("..", "..", "examples", name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		s := &stateful{node: &Node{options: Options{Data: "/data", Log: slog.New(slog.DiscardHandler)}}, self: c.Nodes[0]}
		s.declared.Store(c)
		sc := c.Engines()[0]
		if kind := sc.Engine.Fleet().Kind; kind != name {
			t.Errorf("%s: it is a %s", name, kind)
		}
		d := s.declaration(c, sc)
		if len(d.Members) != 3 || d.Members[1].Address != want.address || d.Protection != want.protection || d.HoldDown == 0 || d.MaxLag == 0 {
			t.Errorf("%s is declared as %+v", name, d)
		}
		i := s.instance(c, sc)
		var secrets []string
		for _, path := range i.secrets {
			secrets = append(secrets, filepath.Base(path))
		}
		if i.engine == nil || i.guard == nil || !slices.Equal(secrets, want.secrets) {
			t.Errorf("%s: engine %T, secrets %v", name, i.engine, i.secrets)
		}
		if l := s.leaders(); len(l) != 3 {
			t.Errorf("%s: the store may be led by %v", name, l)
		}
	}
}
