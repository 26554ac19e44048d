package cache

import (
	"bytes"
	"errors"
	"hash/maphash"
	"net/url"
	"strings"

	"github.com/backstay/backstay/internal/serve/http1"
)

// Invalidate forgets what an answer to a request that changes things makes outdated: the resource itself, and those that Location and
// Content-Location name on the same host (RFC 9111, section 4.4).
func (c *Cache) Invalidate(q *Query, res *http1.Response) {
	if q.Request.Verb.Safe() || res.Status < 200 || res.Status >= 400 {
		return
	}
	c.forget(q.key)
	for i := range res.Fields {
		if f := &res.Fields[i]; f.ID == http1.Location || f.ID == http1.Unknown && http1.EqualFold(f.Name, "content-location") {
			if key := q.resolve(f.Value); key != nil {
				c.forget(key)
			}
		}
	}
}

// forget removes all variants of a resource, and what is being written of it.
func (c *Cache) forget(key []byte) {
	d := c.disk.Load()
	var old []string
	c.mu.Lock()
	c.epochs[hashOf(key)%epochs]++
	if r := c.memory.resources[string(key)]; r != nil {
		for len(r.slots) > 0 {
			c.memory.remove(r.slots[0])
		}
	}
	if d != nil { // both tiers at once, or one would fill the other again
		old = d.forget(string(key))
	}
	c.mu.Unlock()
	if d != nil {
		d.erase(old)
	}
}

// Purge forgets everything.
func (c *Cache) Purge() {
	d := c.disk.Load()
	var old []string
	c.mu.Lock()
	for i := range c.epochs {
		c.epochs[i]++
	}
	for _, r := range c.memory.resources {
		for len(r.slots) > 0 {
			c.memory.remove(r.slots[0])
		}
	}
	if d != nil {
		old = d.purge()
	}
	c.mu.Unlock()
	if d != nil {
		d.erase(old)
	}
}

// ErrScanning says that files of an earlier run are still being read: what they hold is not known yet.
var ErrScanning = errors.New("the cache is still reading what an earlier run has left on disk")

// PurgeMatching forgets all variants of resources whose URL (authority and path with query, such as shop.example/logo.png?v=2) match says
// yes to, and says how many resources there were. What is being written at the moment is not stored. Error: ErrScanning.
func (c *Cache) PurgeMatching(match func(url string) bool) (int, error) {
	found := map[string]bool{}
	look := func(key string) {
		if match(strings.Replace(key, " ", "", 1)) {
			found[key] = true
		}
	}
	c.mu.Lock()
	for i := range c.epochs {
		c.epochs[i]++
	}
	for key := range c.memory.resources {
		look(key)
	}
	c.mu.Unlock()
	if d := c.disk.Load(); d != nil && !d.keys(look) {
		return 0, ErrScanning
	}
	for key := range found {
		c.forget([]byte(key))
	}
	return len(found), nil
}

func (c *Cache) epoch(key []byte) uint32 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.epochs[hashOf(key)%epochs]
}

func hashOf(key []byte) uint64 { return maphash.Bytes(ghostSeed, key) }

// resolve is the key of a reference in an answer, nil where it leads to another host.
func (q *Query) resolve(reference []byte) []byte {
	base, err := url.Parse("http://" + string(q.Request.Host) + string(q.Request.Path))
	if err != nil {
		return nil
	}
	ref, err := url.Parse(string(reference))
	if err != nil {
		return nil
	}
	if ref.Scheme == "https" {
		ref.Scheme = "http" // the key has none
	}
	to := base.ResolveReference(ref)
	if to.Scheme != "http" {
		return nil
	}
	path := to.EscapedPath()
	if path == "" {
		path = "/"
	}
	var query []byte
	if to.RawQuery != "" || to.ForceQuery {
		query = []byte(to.RawQuery)
	}
	key := appendKey(nil, []byte(to.Host), []byte(path), query)
	host := appendKey(nil, q.Request.Host, nil, nil)
	if !bytes.HasPrefix(key, host) {
		return nil
	}
	return key
}
