package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/backstay/backstay/internal/decide/failover"
)

// Cluster is what the API steers of services with an engine and of the nodes' agreement; a System that has them implements
// it.
type Cluster interface {
	// Explain says what is thought of a service, by which rule and from which facts, and what is under way.
	Explain(ctx context.Context, service string) (Explained, error)
	// Wish asks for a change of a service with an engine; the nodes fulfil or refuse it.
	Wish(ctx context.Context, w Wish) error
	// Pause takes the automatic hand away from a service, or gives it back.
	Pause(ctx context.Context, service string, paused bool) error
	// Invite makes a token by which one node can join.
	Invite(ctx context.Context, node string, ttl time.Duration) (string, error)
	// Access says how to connect to a service with an engine from this node; the only one of its kind where no name is given.
	Access(ctx context.Context, service string) (Access, error)
	// Nodes lists who the store consists of, a line each.
	Nodes(ctx context.Context) ([]StoreMember, error)
}

// Wish is what an operator asks of a service with an engine.
type Wish struct {
	Service string `json:"service" doc:"Its name"`
	Kind    string `json:"kind" enum:"switchover,failover,reinit,restart" doc:"switchover moves the primary without loss; failover promotes what is left, although acknowledged writes may be lost; reinit copies a member's data anew; restart starts an instance again, a primary's once another has taken over where one can"`
	To      string `json:"to,omitempty" doc:"The node that is meant; the best standby where empty"`
	ID      string `json:"id,omitempty" doc:"By which its answer is found among the explanation's answers; made where empty"`
}

// Explained is what is thought of a service, for people and for programs.
type Explained struct {
	Text        string               `json:"text" doc:"For people"`
	Explanation failover.Explanation `json:"explanation" doc:"For programs; durations are in nanoseconds"`
}

// Access is how to connect to a service with an engine as its superuser.
type Access struct {
	Service   string            `json:"service" doc:"Its name"`
	Kind      string            `json:"kind" doc:"Its engine"`
	Host      string            `json:"host" doc:"Where its primary is reached from this node"`
	Port      int               `json:"port" doc:"The port there"`
	User      string            `json:"user" doc:"The superuser"`
	Password  string            `json:"password_file" doc:"File on this node with the password"`
	Programs  string            `json:"programs,omitempty" doc:"Folder of the engine's programs; left out where they are looked for"`
	Instances map[string]string `json:"instances" doc:"Where each node's instance is reached"`
}

// StoreMember is a node's part of the store.
type StoreMember struct {
	Node    string `json:"node" doc:"Its name"`
	Address string `json:"address" doc:"Where clients of the store reach it"`
	Leader  bool   `json:"leader" doc:"Whether it leads the store"`
	Learner bool   `json:"learner" doc:"Whether it is still catching up and has no vote"`
}

type (
	ofService struct {
		Service string `query:"service" required:"true" doc:"Name of the service"`
	}
	ofAnyService struct {
		Service string `query:"service" doc:"Name of the service; the only one where empty"`
	}
	text    struct{ Text string }
	wishing struct{ Body Wish }
	pausing struct {
		Body struct {
			Service string `json:"service" doc:"Its name"`
			Paused  bool   `json:"paused" doc:"Whether nothing is to be done automatically"`
		}
	}
	inviting struct {
		Body struct {
			Node string `json:"node,omitempty" doc:"The only node that may use the token; any where empty"`
			TTL  string `json:"ttl,omitempty" doc:"How long it is good for, such as 1h"`
		}
	}
)

// cluster puts the operations of c on the API.
func (s *Server) cluster(a huma.API, c Cluster) {
	huma.Register(a, operation("explain", http.MethodGet, "/v1/explain", "What is thought of a service, by which rule and from which facts"),
		func(ctx context.Context, in *ofService) (*reply[Explained], error) {
			e, err := c.Explain(ctx, in.Service)
			return answer(e, err)
		})
	huma.Register(a, operation("wish", http.MethodPost, "/v1/wish", "Ask for a switchover, a failover, or a member's data to be copied anew"),
		func(ctx context.Context, in *wishing) (*struct{}, error) { return nil, problemOf(c.Wish(ctx, in.Body)) })
	huma.Register(a, operation("pause", http.MethodPost, "/v1/pause", "Take the automatic hand away from a service, or give it back"),
		func(ctx context.Context, in *pausing) (*struct{}, error) {
			return nil, problemOf(c.Pause(ctx, in.Body.Service, in.Body.Paused))
		})
	huma.Register(a, operation("invite", http.MethodPost, "/v1/invite", "Make a token by which one node can join"),
		func(ctx context.Context, in *inviting) (*reply[text], error) {
			var ttl time.Duration
			if in.Body.TTL != "" {
				var err error
				if ttl, err = time.ParseDuration(in.Body.TTL); err != nil {
					return nil, problemOf(Errorf(Invalid, "ttl %q is not a duration such as 1h", in.Body.TTL))
				}
			}
			t, err := c.Invite(ctx, in.Body.Node, ttl)
			return answer(text{t}, err)
		})
	huma.Register(a, operation("access", http.MethodGet, "/v1/access", "How to connect to a service with an engine as its superuser"),
		func(ctx context.Context, in *ofAnyService) (*reply[Access], error) {
			access, err := c.Access(ctx, in.Service)
			return answer(access, err)
		})
	huma.Register(a, operation("nodes", http.MethodGet, "/v1/nodes", "Who the store consists of"),
		func(ctx context.Context, _ *struct{}) (*reply[[]StoreMember], error) {
			m, err := c.Nodes(ctx)
			return answer(m, err)
		})
}

var _ Cluster = (*Client)(nil)

// Explain implements Cluster.
func (c *Client) Explain(ctx context.Context, service string) (e Explained, err error) {
	return e, c.call(ctx, http.MethodGet, "/v1/explain?service="+url.QueryEscape(service), nil, &e)
}

// Wish implements Cluster.
func (c *Client) Wish(ctx context.Context, w Wish) error {
	return c.call(ctx, http.MethodPost, "/v1/wish", w, nil)
}

// Pause implements Cluster.
func (c *Client) Pause(ctx context.Context, service string, paused bool) error {
	return c.call(ctx, http.MethodPost, "/v1/pause", map[string]any{"service": service, "paused": paused}, nil)
}

// Invite implements Cluster.
func (c *Client) Invite(ctx context.Context, node string, ttl time.Duration) (string, error) {
	in := map[string]string{"node": node}
	if ttl > 0 {
		in["ttl"] = ttl.String()
	}
	var t text
	err := c.call(ctx, http.MethodPost, "/v1/invite", in, &t)
	return t.Text, err
}

// Access implements Cluster.
func (c *Client) Access(ctx context.Context, service string) (out Access, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/access?service="+url.QueryEscape(service), nil, &out)
}

// Nodes implements Cluster.
func (c *Client) Nodes(ctx context.Context) (m []StoreMember, err error) {
	return m, c.call(ctx, http.MethodGet, "/v1/nodes", nil, &m)
}
