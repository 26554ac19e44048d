package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// Caches is what the API steers of the services' caches.
type Caches interface {
	// PurgeCaches makes this node forget what it has stored, and says how much that was. NotFound where no cache is meant.
	PurgeCaches(ctx context.Context, p Purge) (Purged, error)
}

// Purge says what is to be forgotten.
type Purge struct {
	Service string `json:"service,omitempty" doc:"Only in the cache of this service; every one where left out"`
	Pattern string `json:"pattern,omitempty" doc:"Only what has such a URL: a path, as /img/*, of any host, or with a host before it, as shop.example/*; a query belongs to it, and * stands for anything. Everything where left out"`
}

// Purged says what was forgotten.
type Purged struct {
	Resources int `json:"resources" doc:"How many were forgotten, each with all its variants"`
}

// CacheStatus is what a service's cache holds.
type CacheStatus struct {
	Entries     int   `json:"entries" doc:"Answers in memory"`
	Memory      int64 `json:"memory_bytes" doc:"What they take"`
	MemoryLimit int64 `json:"memory_limit_bytes" doc:"What they may take"`
	Files       int   `json:"files" doc:"Answers on disk"`
	Disk        int64 `json:"disk_bytes" doc:"What they take"`
	DiskLimit   int64 `json:"disk_limit_bytes" doc:"What they may take; 0 where nothing is kept on disk"`
}

func (s *Server) caches(a huma.API, c Caches) {
	huma.Register(a, operation("purge-caches", http.MethodPost, "/v1/cache/purge", "Forget what the caches of this node have stored"),
		func(ctx context.Context, in *struct{ Body Purge }) (*reply[Purged], error) {
			p, err := c.PurgeCaches(ctx, in.Body)
			return answer(p, err)
		})
}

// PurgeCaches implements Caches.
func (c *Client) PurgeCaches(ctx context.Context, p Purge) (out Purged, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/cache/purge", p, &out)
}
