package cluster_test

import (
	"context"
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"

	"github.com/backstay/backstay/internal/cluster"
)

// outside runs an etcd that is nobody's, without TLS, and returns its address.
func outside(t *testing.T) string {
	t.Helper()
	cfg := embed.NewConfig()
	cfg.Dir, cfg.Logger, cfg.LogLevel = filepath.Join(t.TempDir(), "etcd"), "zap", "fatal"
	client, peer := url.URL{Scheme: "http", Host: freePort(t, "127.0.0.1")}, url.URL{Scheme: "http", Host: freePort(t, "127.0.0.1")}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return client.String()
}

// guest runs a node's part of a store that is somebody else's.
func guest(t *testing.T, name, authority, endpoint string) (*cluster.Cluster, chan error) {
	t.Helper()
	c := cluster.Open(cluster.Options{Cluster: "shop", Node: name, Endpoints: []string{endpoint}, Authority: authority})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(cancel)
	return c, ended
}

func TestAnEtcdThatIsThereAlready(t *testing.T) {
	t.Parallel()
	endpoint := outside(t)
	a, _ := guest(t, "a", "one", endpoint)
	b, _ := guest(t, "b", "one", endpoint)
	for _, c := range []*cluster.Cluster{a, b} {
		select {
		case <-c.Ready():
		case <-time.After(30 * time.Second):
			t.Fatal("it is not ready")
		}
	}
	conformance(t, a, func(*testing.T) {})

	la := cluster.NewLease(cluster.LeaseOptions{Store: a, Key: cluster.LeaseKey("x"), Holder: "a"})
	if epoch, err := la.Take(t.Context(), 0); err != nil || epoch != 1 {
		t.Errorf("take: %d, %v", epoch, err)
	}
	lb := cluster.NewLease(cluster.LeaseOptions{Store: b, Key: cluster.LeaseKey("x"), Holder: "b"})
	if _, err := lb.Take(t.Context(), 0); !errors.Is(err, cluster.ErrHeld) {
		t.Errorf("take of what is held: %v", err)
	}
	if how, err := a.Conditions(t.Context()); err != nil || len(how) != 1 || !how[0].Leader || !how[0].Answers {
		t.Errorf("condition %+v, %v", how, err)
	}
	for what, err := range map[string]error{
		"leave": a.Leave(t.Context()), "defragment": a.Defragment(t.Context()), "move": a.MoveLeader(t.Context(), "b"),
	} {
		if !errors.Is(err, cluster.ErrExternal) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n, err := a.Snapshot(t.Context(), filepath.Join(t.TempDir(), "s")); err != nil || n == 0 {
		t.Errorf("snapshot: %d, %v", n, err)
	}

	// Another cluster of the same name is refused, and has not touched anything.
	_, ended := guest(t, "z", "two", endpoint)
	select {
	case err := <-ended:
		if !errors.Is(err, cluster.ErrOtherCluster) || !strings.Contains(err.Error(), "another name") {
			t.Errorf("a second cluster of the name: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("a second cluster of the name runs")
	}
}
