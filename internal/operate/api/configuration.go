package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Configuration is what the API steers of a configuration that the nodes of a cluster agree on.
type Configuration interface {
	// Version returns a version with its text; the newest for 0. NotFound where there is none.
	Version(ctx context.Context, number int) (Version, error)
	// History lists the versions that are kept, the newest first, without their texts.
	History(ctx context.Context) ([]Version, error)
	// Try asks every node about a text and changes nothing.
	Try(ctx context.Context, t Draft) (Trial, error)
	// Apply makes a text the newest version, if the one it was made from still is; Refused otherwise.
	Apply(ctx context.Context, a Applying) (Version, error)
	// Answers says what each node makes of the newest version.
	Answers(ctx context.Context) ([]Answer, error)
}

// Version is a configuration of the cluster that was applied.
type Version struct {
	Number  int       `json:"number" doc:"From 1; 0 where none was applied yet"`
	Time    time.Time `json:"time" doc:"When it was applied"`
	By      string    `json:"by" doc:"Who applied it"`
	Node    string    `json:"node" doc:"On which node"`
	Message string    `json:"message,omitempty" doc:"Why"`
	Of      int       `json:"of,omitempty" doc:"The version whose text it brought back"`
	Text    string    `json:"text,omitempty" doc:"The configuration as it was given"`
}

// Draft is a configuration that is to be tried.
type Draft struct {
	Name string `json:"name" doc:"Of the file, for messages"`
	Text string `json:"text" doc:"The configuration"`
}

// Trial says what a text would do.
type Trial struct {
	Base    Version  `json:"base" doc:"The version that is in force, without its text"`
	Same    bool     `json:"same" doc:"Whether its text is the same"`
	Changes []string `json:"changes,omitempty" doc:"One line for each thing that would change"`
	Notes   []string `json:"notes,omitempty" doc:"What is done about services and nodes that go"`
	Answers []Answer `json:"answers" doc:"What each node makes of it"`
}

// Applying is what is to be the newest version.
type Applying struct {
	Draft
	Base    int    `json:"base" doc:"The version that it was made from; 0: there was none"`
	Of      int    `json:"of,omitempty" doc:"The version whose text it brings back"`
	By      string `json:"by" doc:"Who applies it"`
	Message string `json:"message,omitempty" doc:"Why"`
	Restart bool   `json:"restart,omitempty" doc:"Whether it may wait for nodes to be started again"`
}

// Answer is what a node makes of a configuration.
type Answer struct {
	Node    string `json:"node" doc:"Its name"`
	State   string `json:"state" enum:"uses,good,restart,error,silent,away" doc:"uses: in force there; good: it could be; restart: it waits for the node to be started again; error: it cannot be used, or not in full; silent: the node has not said anything yet; away: the node is not there"`
	Version int    `json:"version,omitempty" doc:"The version that it is about"`
	Detail  string `json:"detail,omitempty" doc:"Why it is not simply in force"`
}

// States of an Answer.
const (
	AnswerUses    = "uses"
	AnswerGood    = "good"
	AnswerRestart = "restart"
	AnswerError   = "error"
	AnswerSilent  = "silent"
	AnswerAway    = "away"
)

type (
	numbered struct {
		Number int `query:"number" minimum:"0" doc:"Which version; 0 is the newest"`
	}
	trying   struct{ Body Draft }
	applying struct{ Body Applying }
)

// configuration puts the operations of c on the API.
func (s *Server) configuration(a huma.API, c Configuration) {
	huma.Register(a, operation("version", http.MethodGet, "/v1/config/version", "A version of the cluster's configuration"),
		func(ctx context.Context, in *numbered) (*reply[Version], error) {
			v, err := c.Version(ctx, in.Number)
			return answer(v, err)
		})
	huma.Register(a, operation("history", http.MethodGet, "/v1/config/history", "The versions that are kept, the newest first"),
		func(ctx context.Context, _ *struct{}) (*reply[[]Version], error) {
			v, err := c.History(ctx)
			return answer(v, err)
		})
	huma.Register(a, operation("try", http.MethodPost, "/v1/config/try", "Ask every node about a configuration, and change nothing"),
		func(ctx context.Context, in *trying) (*reply[Trial], error) {
			t, err := c.Try(ctx, in.Body)
			return answer(t, err)
		})
	huma.Register(a, operation("apply", http.MethodPost, "/v1/config/apply", "Make a configuration the cluster's newest version"),
		func(ctx context.Context, in *applying) (*reply[Version], error) {
			v, err := c.Apply(ctx, in.Body)
			return answer(v, err)
		})
	huma.Register(a, operation("answers", http.MethodGet, "/v1/config/answers", "What each node makes of the newest version"),
		func(ctx context.Context, _ *struct{}) (*reply[[]Answer], error) {
			v, err := c.Answers(ctx)
			return answer(v, err)
		})
}

var _ Configuration = (*Client)(nil)

// Version implements Configuration.
func (c *Client) Version(ctx context.Context, number int) (v Version, err error) {
	return v, c.call(ctx, http.MethodGet, fmt.Sprint("/v1/config/version?number=", number), nil, &v)
}

// History implements Configuration.
func (c *Client) History(ctx context.Context) (v []Version, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/config/history", nil, &v)
}

// Try implements Configuration.
func (c *Client) Try(ctx context.Context, t Draft) (v Trial, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/config/try", t, &v)
}

// Apply implements Configuration.
func (c *Client) Apply(ctx context.Context, a Applying) (v Version, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/config/apply", a, &v)
}

// Answers implements Configuration.
func (c *Client) Answers(ctx context.Context) (v []Answer, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/config/answers", nil, &v)
}
