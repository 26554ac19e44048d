package api

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/decide/failover"
)

// reply and named are what huma wants its inputs and outputs to look like.
type (
	reply[T any] struct{ Body T }
	named        struct {
		Body struct {
			Member string `json:"member" minLength:"1" doc:"SERVICE/MEMBER, or MEMBER where that is only one"`
		}
	}
	turned struct {
		Body struct {
			Mode  string `json:"mode" minLength:"1" doc:"Name of the mode"`
			State string `json:"state" enum:"on,off,auto" doc:"On or off by hand, or auto: by itself again"`
		}
	}
	eventQuery struct {
		Since   uint64 `query:"since" doc:"Only events with a higher seq"`
		Last    int    `query:"last" minimum:"0" doc:"Only so many of the newest; 0 is all"`
		Follow  bool   `query:"follow" doc:"Go on with new events as they happen"`
		Service string `query:"service" doc:"Only events of this service"`
	}
)

// operations puts the API on mux.
func (s *Server) operations(mux *http.ServeMux) {
	cfg := huma.DefaultConfig("Backstay", s.o.Version)
	cfg.Info.Description = "The admin API of one Backstay node, on its unix socket."
	cfg.DocsPath, cfg.SchemasPath, cfg.CreateHooks = "", "", nil // no page that loads scripts, no $schema in answers
	cfg.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	a := humago.New(mux, cfg)

	huma.Register(a, operation("status", http.MethodGet, "/v1/status", "The picture of the node at this moment"),
		func(ctx context.Context, _ *struct{}) (*reply[Status], error) {
			st, err := s.o.System.Status(ctx)
			return answer(st, err)
		})
	huma.Register(a, operation("reload", http.MethodPost, "/v1/reload", "Read the configuration again and apply it, or change nothing and say why"),
		func(ctx context.Context, _ *struct{}) (*reply[Reloaded], error) {
			r, err := s.o.System.Reload(ctx)
			return answer(r, err)
		})
	huma.Register(a, operation("drain", http.MethodPost, "/v1/drain", "Take no new work to a member and let what it has end"),
		func(ctx context.Context, in *named) (*struct{}, error) {
			return nil, problemOf(s.o.System.Drain(ctx, in.Body.Member))
		})
	huma.Register(a, operation("resume", http.MethodPost, "/v1/resume", "End a drain"),
		func(ctx context.Context, in *named) (*struct{}, error) {
			return nil, problemOf(s.o.System.Resume(ctx, in.Body.Member))
		})
	huma.Register(a, operation("degrade", http.MethodPost, "/v1/degrade", "Turn a degradation mode on or off by hand, or leave it to itself again"),
		func(ctx context.Context, in *turned) (*struct{}, error) {
			return nil, problemOf(s.o.System.Degrade(ctx, in.Body.Mode, in.Body.State))
		})
	s.events(a)
	if c, ok := s.o.System.(Cluster); ok {
		s.cluster(a, c)
	}
	if c, ok := s.o.System.(Caches); ok {
		s.caches(a, c)
	}
	if c, ok := s.o.System.(Configuration); ok {
		s.configuration(a, c)
	}
	if m, ok := s.o.System.(Membership); ok {
		s.membership(a, m)
	}
}

// events streams records as JSON lines.
func (s *Server) events(a huma.API) {
	op := operation("events", http.MethodGet, "/v1/events", "Events in order, one JSON object a line")
	schema := a.OpenAPI().Components.Schemas.Schema(recordType, true, "Record")
	op.Responses = map[string]*huma.Response{"200": {
		Description: "Events, one a line",
		Content:     map[string]*huma.MediaType{eventsType: {Schema: schema}},
	}}
	huma.Register(a, op, func(ctx context.Context, in *eventQuery) (*huma.StreamResponse, error) {
		q := EventQuery{Since: in.Since, Last: in.Last, Follow: in.Follow, Service: in.Service}
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			hc.SetHeader("Content-Type", eventsType)
			hc.SetStatus(http.StatusOK)
			_, w := humago.Unwrap(hc)
			flush := http.NewResponseController(w)
			_ = flush.Flush()
			lines := json.NewEncoder(w)
			err := s.o.System.Events(ctx, q, func(r event.Record) error {
				if err := lines.Encode(r); err != nil {
					return err
				}
				return flush.Flush()
			})
			if err != nil && ctx.Err() == nil {
				s.o.Log.Warn("events broken off", "error", err)
				panic(http.ErrAbortHandler) // the client must not take this for the end
			}
		}}, nil
	})
}

// schemaName is what a type is called: those of the rules are told from the API's own.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.PkgPath() == reflect.TypeFor[failover.View]().PkgPath() {
		return "Failover" + name
	}
	return name
}

func operation(id, method, path, summary string) huma.Operation {
	op := huma.Operation{OperationID: id, Method: method, Path: path, Summary: summary}
	if method == http.MethodPost {
		op.Errors = []int{http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity}
	}
	return op
}

func answer[T any](body T, err error) (*reply[T], error) {
	if err != nil {
		return nil, problemOf(err)
	}
	return &reply[T]{Body: body}, nil
}
