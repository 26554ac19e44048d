// Package snapshot holds the immutable picture from which the data plane serves: listeners, compiled routes, and the
// policies of services. Build does everything that can fail and changes nothing that is in use, so that a reload can
// stage a whole new picture aside and commit it by storing one pointer. What lives longer than a picture — the state of
// members, limits, breakers — belongs to the pool.Service that successive pictures share.
//
// The package must not do I/O beyond reading the files (certificates, secrets) that a configuration names, and must not
// start goroutines.
package snapshot

import (
	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/protect"
	"github.com/backstay/backstay/internal/serve/transport"
	"github.com/backstay/backstay/resilience"
)

// Snapshot is one picture. Nothing in it changes after Build.
type Snapshot struct {
	Config   *config.Config
	HTTP     []*HTTPListener
	TCP      []*TCPListener
	Services []*Service // those of the configuration, and what its listeners make of their standbys
	Modes    *protect.Modes
	// StagedModes are to be put in force together with the picture.
	StagedModes []*protect.Mode

	http     map[string]*HTTPListener
	tcp      map[string]*TCPListener
	services map[string]*Service
	rates    map[string]*protect.Rate // by what they are of
}

// Shares returns this node's parts of the rates that all nodes have together, by what the rates are of.
func (s *Snapshot) Shares() map[string]*protect.Share {
	out := map[string]*protect.Share{}
	for scope, r := range s.rates {
		if share := r.Share(); share != nil {
			out[scope] = share
		}
	}
	return out
}

// HTTPListener returns the listener of that name, or nil where the picture has none.
func (s *Snapshot) HTTPListener(name string) *HTTPListener { return s.http[name] }

// TCPListener returns the listener of that name, or nil where the picture has none.
func (s *Snapshot) TCPListener(name string) *TCPListener { return s.tcp[name] }

// HTTPListener is a listener that serves HTTP: its routes are asked in order.
type HTTPListener struct {
	Name    string
	Config  config.Listener
	Routes  []*Route
	TLS     *transport.ServerConfig // nil without TLS
	Proxy   *transport.ProxyIn      // nil without PROXY protocol
	Trust   Networks                // proxies in front whose word about the client is believed
	Modes   *protect.Modes
	Tokens  *resilience.Tokens // verify signed priorities; nil where there are none
	Rate    *protect.Rate      // nil without
	Metrics *telemetry.Listener
}

// TCPListener is a listener that passes bytes: to one service, or by the name a TLS client asks for.
type TCPListener struct {
	Name    string
	Config  config.Listener
	Service *Service // nil where SNI decides
	SNI     []SNIRoute
	TLS     *transport.ServerConfig // nil without TLS
	Proxy   *transport.ProxyIn      // nil without PROXY protocol
	Metrics *telemetry.Listener
}

// SNIRoute sends TLS sessions on by name.
type SNIRoute struct {
	Names   []string // lower case; "*.example.org" takes any one label, "*" takes all
	Service *Service
}

// ServiceFor returns the service for a session that asked for the given TLS server name ("" when it gave none), or nil.
func (l *TCPListener) ServiceFor(serverName string) *Service {
	if len(l.SNI) == 0 {
		return l.Service
	}
	for i := range l.SNI {
		for _, pattern := range l.SNI[i].Names {
			if matchHost(pattern, serverName) {
				return l.SNI[i].Service
			}
		}
	}
	return nil
}

// Pool returns the live state of the service of that name, or nil where the picture has none.
func (s *Snapshot) Pool(service string) *pool.Service {
	if sv := s.services[service]; sv != nil {
		return sv.Pool
	}
	return nil
}

// TLS returns the listeners' sides of TLS by listener name.
func (s *Snapshot) TLS() map[string]*transport.ServerConfig {
	out := map[string]*transport.ServerConfig{}
	for _, l := range s.HTTP {
		if l.TLS != nil {
			out[l.Name] = l.TLS
		}
	}
	for _, l := range s.TCP {
		if l.TLS != nil {
			out[l.Name] = l.TLS
		}
	}
	return out
}
