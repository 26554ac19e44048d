package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// desc names a metric; it is the whole of the list below that people see.
func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("backstay_"+name, help, labels, nil)
}

// The node.
var (
	buildInfo      = desc("build_info", "Always 1; the labels say what runs.", "version", "go_version", "node")
	nodeReady      = desc("node_ready", "1 while the node takes new work.")
	reloads        = desc("config_reloads_total", "Attempts to apply a configuration, by result.", "result")
	reloadOK       = desc("config_last_reload_successful", "1 if the last attempt to apply a configuration worked.")
	configVersion  = desc("config_version", "Version of the cluster's configuration that is in force; 0 where a file is.")
	certificate    = desc("cluster_certificate_expiry_timestamp_seconds", "When this node's certificate within the cluster expires; it is renewed long before.")
	reloadTime     = desc("config_last_reload_success_timestamp_seconds", "When a configuration was last applied.")
	accessLines    = desc("access_log_lines_total", "Lines written to the access log.")
	accessDropped  = desc("access_log_dropped_total", "Lines that the access log dropped: too many were waiting, or the file could not be written.")
	spansExported  = desc("trace_spans_total", "Spans handed to the collector, by result.", "result")
	listenerOpened = desc("listener_connections_total", "Connections accepted.", "listener")
	listenerActive = desc("listener_active_connections", "Connections that are open.", "listener")
	listenerExpiry = desc("listener_certificate_expiry_timestamp_seconds", "When the certificate of a TLS listener expires.", "listener", "file")
	listenerRefuse = desc("listener_refused_total", "Connections and requests turned away before they had a route, by reason.", "listener", "reason")
)

// Requests and sessions.
var (
	httpRequests = desc("http_requests_total", "Finished HTTP requests by status code.", "listener", "route", "service", "code")
	httpDuration = desc("http_request_duration_seconds", "Time from a request's first byte to the last of its answer.", "listener", "route", "service")
	httpReceived = desc("http_received_bytes_total", "Bytes of request bodies.", "listener", "route", "service")
	httpSent     = desc("http_sent_bytes_total", "Bytes of answers' bodies.", "listener", "route", "service")

	tcpSessions = desc("tcp_sessions_total", "Finished TCP sessions by result.", "listener", "service", "result")
	tcpActive   = desc("tcp_active_sessions", "TCP sessions that are open.", "listener", "service")
	tcpDuration = desc("tcp_session_duration_seconds", "Length of TCP sessions.", "listener", "service")
	tcpReceived = desc("tcp_received_bytes_total", "Bytes from clients.", "listener", "service")
	tcpSent     = desc("tcp_sent_bytes_total", "Bytes to clients.", "listener", "service")
)

// Services.
var (
	serviceRetries   = desc("service_retries_total", "Requests sent once more, by reason.", "service", "reason")
	serviceIncidents = [incidents]*prometheus.Desc{
		RetryDenied:    desc("service_retries_denied_total", "Retries that the budget did not allow.", "service"),
		Held:           desc("service_held_total", "Requests that waited because no member could serve.", "service"),
		HoldTimeout:    desc("service_hold_timeouts_total", "Requests that waited for a member for nothing.", "service"),
		HoldFull:       desc("service_hold_full_total", "Requests that found no room to wait for a member.", "service"),
		Queued:         desc("service_queued_total", "Requests that waited for a place under the limit.", "service"),
		Limited:        desc("service_limited_total", "Requests refused by the limit.", "service"),
		BreakerRefused: desc("service_breaker_refused_total", "Requests refused by the service's breaker.", "service"),
		NoMember:       desc("service_no_member_total", "Requests that failed because no member could serve.", "service"),
		Fallback:       desc("service_fallbacks_total", "Requests answered by the fallback.", "service"),
		Mirrored:       desc("service_mirrored_total", "Copies of requests sent to a second service.", "service"),
		MirrorDropped:  desc("service_mirror_dropped_total", "Copies not sent because too many were under way.", "service"),
		Hedged:         desc("service_hedges_total", "Further members asked, as those before took long.", "service"),
		HedgeWon:       desc("service_hedges_won_total", "Hedges that answered first.", "service"),
		TooLate:        desc("service_too_late_total", "Requests refused as they could not be answered within the time their clients gave them.", "service"),
		RateLimited:    desc("service_rate_limited_total", "Requests refused as there were too many in a time.", "service"),
		FallbackFailed: desc("service_fallbacks_failed_total", "Requests that fallbacks did not answer either.", "service"),
		Spared:         desc("service_spared_total", "Requests not sent, as a degradation mode spares the service.", "service"),
		CacheHit:       desc("service_cache_hits_total", "Requests answered out of the cache without asking a member.", "service"),
		CacheMiss:      desc("service_cache_misses_total", "Requests for which a member was asked, as nothing stored would do.", "service"),
		CacheValidated: desc("service_cache_validations_total", "Requests for which a member said that what is stored still holds.", "service"),
		CacheCollapsed: desc("service_cache_collapsed_total", "Requests that waited for the answer to another that asked for the same.", "service"),
		SessionMoved:   desc("service_sessions_moved_total", "Sessions that went on with another server, their clients none the wiser.", "service"),
		LoginFailed:    desc("service_logins_failed_total", "Sessions refused for a wrong password, an unknown role, or a role that may not.", "service"),
		Panicked:       desc("service_panic_requests_total", "Requests sent to members that checks call down, because too few are up.", "service"),
	}
	serviceShed     = desc("service_shed_total", "Requests refused under overload, by priority.", "service", "priority")
	serviceLevel    = desc("service_admission_level_ratio", "The share of requests let in under overload, by priority; 1 is all.", "service")
	serviceLimit    = desc("service_limit", "Requests that may be at work at once.", "service")
	serviceInFlight = desc("service_in_flight", "Requests and sessions at work.", "service")
	serviceQueued   = desc("service_queue_length", "Requests waiting for a place under the limit.", "service")
	serviceHeld     = desc("service_hold_length", "Requests waiting for a member.", "service")
	serviceMembers  = desc("service_members", "Members there are.", "service")
	serviceReady    = desc("service_members_ready", "Members that may get traffic.", "service")
	servicePanic    = desc("service_panic", "1 while too few members are up for checks to be believed.", "service")
	serviceBreaker  = desc("service_breaker_state", "0 closed, 1 half-open, 2 open.", "service")
)

// Rates that all nodes have together.
var (
	rateShare  = desc("shared_rate_share", "Requests a second that this node may let in of a rate that all nodes have together.", "rate")
	rateTotal  = desc("shared_rate_total", "Requests a second of all nodes together.", "rate")
	rateLeased = desc("shared_rate_leased", "1 while this node's share is leased by demand; 0 while it has an equal part at most, as the store cannot be reached.", "rate")
)

// Members.
var (
	memberRequests  = desc("member_requests_total", "Tries on a member by result.", "service", "member", "result")
	memberDuration  = desc("member_request_duration_seconds", "Time until the head of a member's answer, or its failure.", "service", "member")
	memberEjections = desc("member_ejections_total", "Ejections for what live traffic showed.", "service", "member")
	memberOpens     = desc("member_breaker_opens_total", "Openings of the member's breaker.", "service", "member")
	memberProbes    = desc("member_probes_total", "Looks of checks by result.", "service", "member", "result")
	memberProbed    = desc("member_last_probe_duration_seconds", "How long the last look of a check took.", "service", "member")
	memberInFlight  = desc("member_in_flight", "Tries at work.", "service", "member")
	memberUp        = desc("member_up", "1 while checks find the member good.", "service", "member")
	memberEjected   = desc("member_ejected", "1 while the member is out for what live traffic showed.", "service", "member")
	memberDraining  = desc("member_draining", "1 while the member is let go.", "service", "member")
	memberBreaker   = desc("member_breaker_state", "0 closed, 1 half-open, 2 open.", "service", "member")
	memberLatency   = desc("member_latency_seconds", "The balancer's estimate of the member's latency.", "service", "member")
	memberShare     = desc("member_share_ratio", "The share of the service's traffic that the balancer means the member to have.", "service", "member")
)

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		buildInfo, nodeReady, reloads, reloadOK, reloadTime, configVersion, certificate, accessLines, accessDropped, spansExported,
		listenerOpened, listenerActive, listenerExpiry, listenerRefuse,
		httpRequests, httpDuration, httpReceived, httpSent,
		tcpSessions, tcpActive, tcpDuration, tcpReceived, tcpSent,
		serviceRetries, serviceShed, serviceLevel, serviceLimit, serviceInFlight, serviceQueued, serviceHeld, serviceMembers, serviceReady, servicePanic, serviceBreaker,
		rateShare, rateTotal, rateLeased,
		memberRequests, memberDuration, memberEjections, memberOpens, memberProbes, memberProbed,
		memberInFlight, memberUp, memberEjected, memberDraining, memberBreaker, memberLatency, memberShare,
	} {
		ch <- d
	}
	for _, d := range serviceIncidents {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	out := scrape{ch}
	m.node.collect(out)
	if read := m.certificates.Load(); read != nil {
		for _, c := range (*read)() {
			out.gauge(listenerExpiry, float64(c.Expires.Unix()), c.Listener, c.File)
		}
	}
	if read := m.rates.Load(); read != nil {
		for _, r := range (*read)() {
			out.gauge(rateShare, r.Share, r.Name)
			out.gauge(rateTotal, r.Total, r.Name)
			out.flag(rateLeased, r.Leased, r.Name)
		}
	}
	for _, l := range m.listeners.all() {
		l.collect(out)
	}
	for _, r := range m.routes.all() {
		r.collect(out)
	}
	for _, s := range m.sessions.all() {
		s.collect(out)
	}
	for _, s := range m.services.all() {
		s.collect(out)
	}
	for _, h := range m.members.all() {
		h.collect(out)
	}
}

// scrape sends metrics to one scrape.
type scrape struct{ ch chan<- prometheus.Metric }

func (s scrape) counter(d *prometheus.Desc, v float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func (s scrape) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (s scrape) flag(d *prometheus.Desc, v bool, labels ...string) {
	f := 0.0
	if v {
		f = 1
	}
	s.gauge(d, f, labels...)
}

// breaker sends a breaker's state; nothing where there is no breaker.
func (s scrape) breaker(d *prometheus.Desc, state string, labels ...string) {
	values := map[string]float64{"closed": 0, "half-open": 1, "open": 2}
	if v, ok := values[state]; ok {
		s.gauge(d, v, labels...)
	}
}

func (s scrape) histogram(d *prometheus.Desc, h *histogram, total *sum, labels ...string) {
	s.ch <- durations{d, prometheus.MakeLabelPairs(d, labels), h.write(total)}
}

// durations is a histogram in both forms, as prometheus.Metric.
type durations struct {
	desc   *prometheus.Desc
	labels []*dto.LabelPair
	values *dto.Histogram
}

// Desc implements prometheus.Metric.
func (d durations) Desc() *prometheus.Desc { return d.desc }

// Write implements prometheus.Metric.
func (d durations) Write(out *dto.Metric) error {
	out.Label, out.Histogram = d.labels, d.values
	return nil
}
