package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/operate/api"
)

// pgNode is a node of a service with three instances, which fulfils a wish by the second look after it.
type pgNode struct {
	*fake
	api.Cluster
	service  api.ServiceStatus
	looks    int
	wishes   []string
	deaf     bool // refuses silently
	password string
}

func newPgNode(t *testing.T) (*pgNode, string) {
	dir := t.TempDir()
	n := &pgNode{fake: newFake(), password: filepath.Join(dir, "superuser")}
	if err := os.WriteFile(n.password, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	n.service = api.ServiceStatus{Name: "db", State: api.ServiceUp, Members: []api.MemberStatus{}}
	for _, name := range []string{"par-1", "par-2", "par-3"} {
		n.service.Instances = append(n.service.Instances, api.InstanceStatus{Node: name, Role: "standby", Streaming: true, Started: at})
	}
	n.service.Instances[0].Role = "primary"
	n.service.Instances[0].PendingRestart = []string{"shared_buffers"}
	n.service.Instances[2].PendingRestart = []string{"max_connections", "shared_buffers"}
	socket := filepath.Join(dir, "admin.sock")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- api.NewServer(api.Options{Socket: socket, System: n}).Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return n, socket
		}
		if time.Now().After(deadline) {
			t.Fatal("the fake node does not come up")
		}
	}
}

func (n *pgNode) Status(context.Context) (api.Status, error) {
	if to, asked := strings.CutPrefix(n.service.Asked, "restart "); asked {
		if n.looks++; n.looks == 2 {
			n.looks, n.service.Asked = 0, ""
			for i := range n.service.Instances {
				in := &n.service.Instances[i]
				if in.Node == to {
					in.Started, in.PendingRestart = in.Started.Add(time.Hour), nil
					if in.Role == "primary" {
						in.Role, n.service.Instances[1].Role = "standby", "primary"
					}
				}
			}
		}
	}
	s := n.service
	s.Instances = slices.Clone(s.Instances)
	return api.Status{Node: "par-1", State: api.NodeReady, Listeners: []api.ListenerStatus{}, Services: []api.ServiceStatus{s}}, nil
}

func (n *pgNode) Wish(_ context.Context, w api.Wish) error {
	n.wishes = append(n.wishes, w.Service+" "+w.Kind+" "+w.To)
	if !n.deaf {
		n.service.Asked = w.Kind + " " + w.To
	}
	return nil
}

func (n *pgNode) Access(_ context.Context, service string) (api.Access, error) {
	if service != "" && service != "db" {
		return api.Access{}, api.Errorf(api.NotFound, "there is no service %q", service)
	}
	return api.Access{
		Service: "db", Host: "10.0.0.1", Port: 5432, User: "postgres", Password: n.password, Programs: filepath.Dir(n.password),
		Instances: map[string]string{"par-2": "10.0.0.2:5433"},
	}, nil
}

func pgRun(t *testing.T, socket string, args ...string) (code int, said string) {
	t.Helper()
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	code = Main(ctx, append([]string{"pg"}, append(args[:1:1], append([]string{"--socket", socket}, args[1:]...)...)...), Options{Version: "1.2.3", Out: &out, Err: &out, Zone: time.UTC})
	return code, out.String()
}

func TestRestart(t *testing.T) {
	for _, c := range []struct {
		args   string
		code   int
		says   string
		wishes string
	}{
		{"restart", exitOK, "par-3 (standby): max_connections, shared_buffers", ""},
		{"restart db --rolling", exitOK, "par-1 is restarted, and a standby now", "par-2 par-3 par-1"},
		{"restart db --rolling --pending", exitOK, "par-3 is restarted for max_connections, shared_buffers", "par-3 par-1"},
		{"restart --node par-2", exitOK, "par-2 is restarted", "par-2"},
		{"restart --node par-9", exitNotFound, `no instance on "par-9"`, ""},
		{"restart --node par-1 --rolling", exitUsage, "give one of them", ""},
		{"restart other", exitNotFound, `no service "other"`, ""},
	} {
		n, socket := newPgNode(t)
		code, said := pgRun(t, socket, strings.Fields(c.args)...)
		var wishes []string
		for _, w := range n.wishes {
			wishes = append(wishes, strings.TrimPrefix(w, "db restart "))
		}
		if code != c.code || !strings.Contains(said, c.says) || strings.Join(wishes, " ") != c.wishes {
			t.Errorf("%s: exit %d, asked for %q, said\n%s", c.args, code, wishes, said)
		}
	}
}

func TestPsql(t *testing.T) {
	n, socket := newPgNode(t)
	script := "#!/bin/sh\necho \"$PGUSER:$PGPASSWORD@$PGHOST:$PGPORT/$PGDATABASE $*\"\nexit 3\n"
	if err := os.WriteFile(filepath.Join(filepath.Dir(n.password), "psql"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PGDATABASE", "")
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"psql"}, 3, "postgres:s3cret@10.0.0.1:5432/postgres \n"},
		{[]string{"psql", "db", "--", "-c", "SELECT 1"}, 3, "postgres:s3cret@10.0.0.1:5432/postgres -c SELECT 1\n"},
		{[]string{"psql", "--", "-l"}, 3, "postgres:s3cret@10.0.0.1:5432/postgres -l\n"},
		{[]string{"psql", "--node", "par-2"}, 3, "postgres:s3cret@10.0.0.2:5433/postgres \n"},
		{[]string{"psql", "--node", "par-9"}, exitNotFound, "no instance"},
		{[]string{"psql", "shop"}, exitNotFound, "no service"},
		{[]string{"psql", "db", "-l"}, exitUsage, "unknown shorthand flag"},
		{[]string{"psql", "db", "more"}, exitUsage, "behind --"},
	} {
		if code, said := pgRun(t, socket, c.args...); code != c.code || !strings.Contains(said, c.says) {
			t.Errorf("%q: exit %d, said\n%s", c.args, code, said)
		}
	}
	if err := os.Remove(n.password); err != nil {
		t.Fatal(err)
	}
	if code, said := pgRun(t, socket, "psql"); code != exitFailed || !strings.Contains(said, "the password of postgres") {
		t.Errorf("without the password: exit %d, said\n%s", code, said)
	}
}
