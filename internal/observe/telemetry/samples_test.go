package telemetry

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestRatesAndCertificates(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg)
	m.SetRates(func() []RateSample { return []RateSample{{Name: "service web", Share: 25, Total: 100, Leased: true}} })
	m.SetCertificates(func() []CertificateSample {
		return []CertificateSample{{Listener: ":443", File: "shop.crt", Expires: time.Unix(2000, 0)}}
	})
	want := `
# HELP backstay_listener_certificate_expiry_timestamp_seconds When the certificate of a TLS listener expires.
# TYPE backstay_listener_certificate_expiry_timestamp_seconds gauge
backstay_listener_certificate_expiry_timestamp_seconds{file="shop.crt",listener=":443"} 2000
# HELP backstay_shared_rate_share Requests a second that this node may let in of a rate that all nodes have together.
# TYPE backstay_shared_rate_share gauge
backstay_shared_rate_share{rate="service web"} 25
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "backstay_listener_certificate_expiry_timestamp_seconds", "backstay_shared_rate_share"); err != nil {
		t.Error(err)
	}
}
