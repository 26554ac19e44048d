package snapshot

import (
	"path/filepath"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/serve/cache"
)

// CacheOptions are what a service wants of its cache. ok is false where it has none.
func CacheOptions(c config.Service) (o cache.Options, ok bool) {
	for _, f := range c.Fallback {
		o.IfError = max(o.IfError, time.Duration(f.Cache))
	}
	if c.Cache == nil {
		return o, o.IfError > 0
	}
	o.Memory, o.MaxEntry = int64(c.Cache.Memory), int64(c.Cache.MaxEntry)
	o.Wait, o.Waiters = time.Duration(c.Cache.Wait), c.Cache.Waiters
	if o.Wait == 0 {
		o.Wait = -1
	}
	o.Heuristic, o.SetCookie, o.Serve = c.Cache.Heuristic.Of(), c.Cache.SetCookie, c.Cache.Serve
	if d := c.Cache.Disk; d != nil {
		o.Dir, o.Disk = filepath.Join(d.Path, c.Name+".cache"), int64(d.Size)
	}
	return o, true
}

func (b *builder) cache(c config.Service) *cache.Cache {
	o, ok := CacheOptions(c)
	switch {
	case !ok:
		return nil
	case b.deps.Cache == nil:
		return cache.New(o)
	}
	return b.deps.Cache(c.Name)
}
