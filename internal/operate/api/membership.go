package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Membership is what the API steers of who the cluster consists of, and of the store that they keep.
type Membership interface {
	// ClusterStatus says how the cluster is.
	ClusterStatus(ctx context.Context) (ClusterStatus, error)
	// Leave takes this node out of the cluster for good; its process ends afterwards.
	Leave(ctx context.Context) error
	// Remove takes a dead node out of the cluster for good.
	Remove(ctx context.Context, r Removal) error
	// Snapshot saves the store to a file on the node, and returns its size in bytes.
	Snapshot(ctx context.Context, path string) (int64, error)
	// Defragment gives the unused space of this node's part of the store back to the disk.
	Defragment(ctx context.Context) error
}

// ClusterStatus says how the cluster is.
type ClusterStatus struct {
	Cluster    string         `json:"cluster" doc:"Its name"`
	Profile    string         `json:"profile" doc:"Of its timings"`
	External   []string       `json:"external,omitempty" doc:"Addresses of the etcd that keeps the store, where the nodes do not keep one themselves"`
	Now        time.Time      `json:"now" doc:"When this was asked, by the node's clock"`
	Problem    string         `json:"problem,omitempty" doc:"Why the nodes cannot agree on anything now; empty when they can"`
	Members    []MemberHealth `json:"members" doc:"Who keeps the store"`
	Nodes      []ClusterNode  `json:"nodes" doc:"The nodes of the configuration"`
	Version    Version        `json:"version" doc:"The configuration in force, without its text; number 0 where each node goes by its file"`
	Recoveries []Recovery     `json:"recoveries,omitempty" doc:"Recoveries by force, the newest first"`
	Removed    []Removal      `json:"removed,omitempty" doc:"Nodes that were removed or left, the newest last"`
}

// MemberHealth is how a member of the store is.
type MemberHealth struct {
	StoreMember
	Answers bool   `json:"answers" doc:"Whether it does"`
	Problem string `json:"problem,omitempty" doc:"What is wrong with it"`
	Version string `json:"version,omitempty" doc:"Of etcd"`
	Size    int64  `json:"size" doc:"Bytes on disk"`
	InUse   int64  `json:"in_use" doc:"Bytes of them in use"`
	Applied uint64 `json:"applied" doc:"How far it is in the store's log"`
}

// ClusterNode is a node of the configuration.
type ClusterNode struct {
	Name     string   `json:"name" doc:"Its name"`
	Address  string   `json:"address" doc:"Where other nodes reach it"`
	Heard    bool     `json:"heard" doc:"Whether the node that was asked hears it"`
	Services []string `json:"services,omitempty" doc:"Services of which it has an instance; a witness has none"`
	Config   Answer   `json:"config" doc:"What it makes of the configuration's newest version"`
}

// Recovery is the audit record of a recovery by force.
type Recovery struct {
	Generation int       `json:"generation" doc:"Counts them"`
	Time       time.Time `json:"time" doc:"When"`
	Node       string    `json:"node" doc:"From whose data"`
	By         string    `json:"by" doc:"Who did it"`
	Why        string    `json:"why" doc:"The reason given"`
	Lost       []string  `json:"lost,omitempty" doc:"Members that were left out"`
	Snapshot   string    `json:"snapshot,omitempty" doc:"The snapshot it was made from"`
}

// Removal is a node that is out of the cluster for good, or is to be.
type Removal struct {
	Node string    `json:"node" doc:"Its name"`
	Why  string    `json:"why,omitempty" doc:"The reason given"`
	By   string    `json:"by,omitempty" doc:"Who did it"`
	Time time.Time `json:"time,omitzero" doc:"When"`
}

type (
	removing struct{ Body Removal }
	saving   struct {
		Body struct {
			Path string `json:"path" minLength:"1" doc:"Absolute path of the file on the node"`
		}
	}
	saved struct {
		Bytes int64 `json:"bytes" doc:"Size of the file"`
	}
)

// membership puts the operations of m on the API.
func (s *Server) membership(a huma.API, m Membership) {
	huma.Register(a, operation("cluster-status", http.MethodGet, "/v1/cluster", "How the cluster is"),
		func(ctx context.Context, _ *struct{}) (*reply[ClusterStatus], error) {
			st, err := m.ClusterStatus(ctx)
			return answer(st, err)
		})
	huma.Register(a, operation("cluster-leave", http.MethodPost, "/v1/cluster/leave", "Take this node out of the cluster for good"),
		func(ctx context.Context, _ *struct{}) (*struct{}, error) { return nil, problemOf(m.Leave(ctx)) })
	huma.Register(a, operation("cluster-remove", http.MethodPost, "/v1/cluster/remove", "Take a dead node out of the cluster for good"),
		func(ctx context.Context, in *removing) (*struct{}, error) {
			return nil, problemOf(m.Remove(ctx, in.Body))
		})
	huma.Register(a, operation("cluster-snapshot", http.MethodPost, "/v1/cluster/snapshot", "Save the store to a file on the node"),
		func(ctx context.Context, in *saving) (*reply[saved], error) {
			n, err := m.Snapshot(ctx, in.Body.Path)
			return answer(saved{n}, err)
		})
	huma.Register(a, operation("cluster-defragment", http.MethodPost, "/v1/cluster/defragment", "Give unused space of this node's part of the store back to the disk"),
		func(ctx context.Context, _ *struct{}) (*struct{}, error) { return nil, problemOf(m.Defragment(ctx)) })
}

var _ Membership = (*Client)(nil)

// ClusterStatus implements Membership.
func (c *Client) ClusterStatus(ctx context.Context) (s ClusterStatus, err error) {
	return s, c.call(ctx, http.MethodGet, "/v1/cluster", nil, &s)
}

// Leave implements Membership.
func (c *Client) Leave(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/cluster/leave", nil, nil)
}

// Remove implements Membership.
func (c *Client) Remove(ctx context.Context, r Removal) error {
	return c.call(ctx, http.MethodPost, "/v1/cluster/remove", r, nil)
}

// Snapshot implements Membership.
func (c *Client) Snapshot(ctx context.Context, path string) (int64, error) {
	var s saved
	err := c.call(ctx, http.MethodPost, "/v1/cluster/snapshot", map[string]string{"path": path}, &s)
	return s.Bytes, err
}

// Defragment implements Membership.
func (c *Client) Defragment(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/cluster/defragment", nil, nil)
}
