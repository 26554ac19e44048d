package cluster

import (
	"errors"
	"fmt"
	"net/url"
	"os"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
)

const (
	compactEvery = "10m" // how long the store remembers what was overwritten
	storeQuota   = 2 << 30
)

func (c *Cluster) complete() error {
	switch o := c.o; {
	case o.Cluster == "" || o.Node == "" || o.Dir == "" || o.Peer == "" || o.Client == "":
		return errors.New("the cluster's name, the node's name, its directory and its addresses for peers and clients are required")
	case o.TLS.CA == "" || o.TLS.Cert == "" || o.TLS.Key == "":
		return errors.New("the store between nodes is never without TLS: `backstay init` or `backstay cluster join` makes certificates")
	}
	for _, path := range []string{c.o.TLS.CA, c.o.TLS.Cert, c.o.TLS.Key} {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("certificates of the store: %w; `backstay init` or `backstay cluster join` makes them", err)
		}
	}
	return nil
}

// config returns etcd's options but for how the cluster begins.
func (c *Cluster) config() *embed.Config {
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = c.o.Node, etcdPath(c.o.Dir)
	peer, client := url.URL{Scheme: "https", Host: c.o.Peer}, url.URL{Scheme: "https", Host: c.o.Client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.PeerTLSInfo, cfg.ClientTLSInfo = c.o.TLS.info(), c.o.TLS.info()
	cfg.TickMs = uint(c.o.Profile.StoreHeartbeat.Milliseconds())
	cfg.ElectionMs = uint(c.o.Profile.StoreElection.Milliseconds())
	cfg.AutoCompactionMode, cfg.AutoCompactionRetention = embed.CompactorModePeriodic, compactEvery
	cfg.QuotaBackendBytes = storeQuota
	cfg.EnableGRPCGateway = false
	cfg.InitialCluster = ""
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newZap(c.o.Log, c.failed, func() { c.removed.Store(true) }))
	return cfg
}

func (c *Cluster) failed(reason string) {
	select {
	case c.failures <- reason:
	default:
	}
}

func (f TLSFiles) info() transport.TLSInfo {
	return transport.TLSInfo{
		CertFile: f.Cert, KeyFile: f.Key, ClientCertFile: f.Cert, ClientKeyFile: f.Key, TrustedCAFile: f.CA,
		ClientCertAuth: true,
		// The authority's signature counts; a node may well speak from another address than the one it is reached at.
		SkipClientSANVerify: true,
	}
}
