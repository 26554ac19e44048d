package health

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/base/config"
)

// maxTLS is how many sets of files are kept loaded.
const maxTLS = 256

// tlsFiles keeps certificates loaded, and loads them again when their files change.
type tlsFiles struct {
	mu     sync.Mutex
	loaded map[config.MemberTLS]loadedTLS
}

type loadedTLS struct {
	stamp [3]stamp
	conf  *tls.Config
}

// stamp tells versions of a file apart.
type stamp struct {
	mod  time.Time
	size int64
}

// config returns the settings for a handshake with the target.
func (f *tlsFiles) config(t Target, m config.MemberTLS, alpn ...string) (*tls.Config, error) {
	base, err := f.load(m)
	if err != nil {
		return nil, err
	}
	conf := base.Clone()
	conf.NextProtos = alpn
	if conf.ServerName = m.Name; m.Name == "" {
		conf.ServerName = hostOf(t)
	}
	return conf, nil
}

func (f *tlsFiles) load(m config.MemberTLS) (*tls.Config, error) {
	var now [3]stamp
	for i, path := range []string{m.CA, m.Cert, m.Key} {
		if info, err := os.Stat(path); path != "" && err == nil {
			now[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if l, ok := f.loaded[m]; ok && l.stamp == now {
		return l.conf, nil
	}
	conf, err := readTLS(m)
	if err != nil {
		return nil, err
	}
	if f.loaded == nil || len(f.loaded) >= maxTLS {
		f.loaded = map[config.MemberTLS]loadedTLS{}
	}
	f.loaded[m] = loadedTLS{now, conf}
	return conf, nil
}

func readTLS(m config.MemberTLS) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: m.Insecure}
	if m.MinVersion == "1.3" {
		conf.MinVersion = tls.VersionTLS13
	}
	if m.CA != "" {
		pem, err := os.ReadFile(m.CA)
		if err != nil {
			return nil, fmt.Errorf("the check's CA cannot be read: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, wrong("CA", errors.New("no certificate in "+m.CA))
		}
	}
	if m.Cert != "" {
		pair, err := tls.LoadX509KeyPair(m.Cert, m.Key)
		if err != nil {
			return nil, fmt.Errorf("the check's own certificate cannot be used: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}
