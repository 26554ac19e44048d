package httpproxy

import (
	"bytes"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/serve/http1"
	"github.com/backstay/backstay/internal/serve/pool"
)

// affinity says what ties the request to a member: the sticky cookie, and what the hash goes by.
func (e *exchange) affinity() {
	b := &e.service.Config.Balance
	if b.Sticky != nil {
		e.query.Sticky = string(cookie(e.request, b.Sticky.Cookie))
	}
	if b.Policy == "hash" && b.Hash != nil {
		key := e.hashKey(b.Hash)
		e.query.HasHash = len(key) > 0
		e.query.Hash = pool.Hash(key)
	}
}

func (e *exchange) hashKey(h *config.Hash) []byte {
	switch {
	case h.Header != "":
		if f := e.request.Find(h.Header); f != nil {
			return f.Value
		}
	case h.Cookie != "":
		return cookie(e.request, h.Cookie)
	case h.Path:
		return e.request.Path
	case h.Client:
		a := e.remote.Addr().As16()
		return append([]byte(nil), a[:]...)
	}
	return nil
}

// cookie is the value of the cookie of that name (RFC 6265, section 5.4), nil without one.
func cookie(r *http1.Request, name string) []byte {
	if !r.Present.Has(http1.Cookie) {
		return nil
	}
	for i := range r.Fields {
		if r.Fields[i].ID != http1.Cookie {
			continue
		}
		for rest := r.Fields[i].Value; len(rest) > 0; {
			var pair []byte
			pair, rest, _ = bytes.Cut(rest, []byte{';'})
			k, v, ok := bytes.Cut(bytes.TrimSpace(pair), []byte{'='})
			if ok && string(k) == name {
				return v
			}
		}
	}
	return nil
}
