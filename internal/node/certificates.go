package node

import "github.com/backstay/backstay/internal/observe/telemetry"

// certificateSamples is what the listeners show to clients now.
func (n *Node) certificateSamples() (out []telemetry.CertificateSample) {
	snap := n.snapshot.Load()
	if snap == nil {
		return nil
	}
	for name, tls := range snap.TLS() {
		seen := map[string]bool{} // a file may stand there twice, a series may not
		for _, c := range tls.Certificates() {
			if !seen[c.File] {
				out = append(out, telemetry.CertificateSample{Listener: name, File: c.File, Expires: c.NotAfter})
			}
			seen[c.File] = true
		}
	}
	return out
}
