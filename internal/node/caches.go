package node

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/backstay/backstay/internal/operate/api"
	"github.com/backstay/backstay/internal/serve/cache"
)

// PurgeCaches implements api.Caches.
func (n *Node) PurgeCaches(_ context.Context, p api.Purge) (out api.Purged, err error) {
	names := slices.Sorted(maps.Keys(n.caches.Usage()))
	switch {
	case len(names) == 0:
		return out, api.Errorf(api.NotFound, "no service has a cache")
	case p.Service != "" && !slices.Contains(names, p.Service):
		return out, api.Errorf(api.NotFound, "the service %q has no cache: %s have one", p.Service, strings.Join(names, ", "))
	}
	for _, name := range names {
		if p.Service != "" && p.Service != name {
			continue
		}
		c := n.caches.Get(name)
		found, err := c.PurgeMatching(func(url string) bool { return urlMatches(p.Pattern, url) })
		if err != nil {
			return out, api.Errorf(api.Refused, "cache of %s: %v: try again shortly", name, err)
		}
		out.Resources += found
		if p.Pattern == "" {
			c.Purge()
		}
	}
	return out, nil
}

// urlMatches says whether a URL without its scheme is one of a pattern, in which * stands for anything; a pattern that begins with / is about
// any host.
func urlMatches(pattern, url string) bool {
	if pattern == "" {
		return true
	}
	if strings.HasPrefix(pattern, "/") {
		_, path, _ := strings.Cut(url, "/")
		url = "/" + path
	}
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return url == pattern
	}
	rest, ok := strings.CutPrefix(url, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}

func cacheStatus(u cache.Usage) *api.CacheStatus {
	return &api.CacheStatus{Entries: u.Entries, Memory: u.Memory, MemoryLimit: u.MemoryLimit, Files: u.Files, Disk: u.Disk, DiskLimit: u.DiskMax}
}
