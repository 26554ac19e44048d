package httpproxy

import (
	"bytes"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/serve/http1"
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
		e.query.Hash = hash(key)
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

// hash is FNV-1a with the finaliser of MurmurHash3: the same on every node.
func hash(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
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
