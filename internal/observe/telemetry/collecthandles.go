package telemetry

func (n *nodeCounters) collect(out scrape) {
	if b := n.build.Load(); b != nil {
		out.gauge(buildInfo, 1, b[:]...)
	}
	out.flag(nodeReady, n.ready.Load())
	out.counter(reloads, float64(n.reloads.Load()), "applied")
	out.counter(reloads, float64(n.reloadsRefused.Load()), "refused")
	out.flag(reloadOK, n.reloadOK.Load())
	out.gauge(reloadTime, float64(n.reloadedAt.Load())/1e3)
	out.gauge(configVersion, float64(n.configVersion.Load()))
	if at := n.certificate.Load(); at != 0 {
		out.gauge(certificate, float64(at))
	}
	out.counter(accessLines, float64(n.accessWritten.Load()))
	out.counter(accessDropped, float64(n.accessDropped.Load()))
	out.counter(spansExported, float64(n.spansExported.Load()), "exported")
	out.counter(spansExported, float64(n.spansFailed.Load()), "failed")
}

func (l *Listener) collect(out scrape) {
	out.gauge(listenerActive, float64(l.Active()), l.name)
	out.counter(listenerOpened, float64(l.accepted.Load()), l.name)
	for i := range l.refused {
		out.counter(listenerRefuse, float64(l.refused[i].Load()), l.name, refusalNames[i])
	}
}

func (r *Route) collect(out scrape) {
	k := r.key
	for i := range r.codes {
		if n := r.codes[i].Load(); n > 0 {
			out.counter(httpRequests, float64(n), k.listener, k.route, k.service, codeNames[i])
		}
	}
	out.histogram(httpDuration, &r.duration, &r.sum, k.listener, k.route, k.service)
	out.counter(httpReceived, float64(r.in.Load()), k.listener, k.route, k.service)
	out.counter(httpSent, float64(r.out.Load()), k.listener, k.route, k.service)
}

func (s *Sessions) collect(out scrape) {
	k := s.key
	var ended uint64
	for i := range s.results {
		n := s.results[i].Load()
		ended += n
		out.counter(tcpSessions, float64(n), k.listener, k.service, endingNames[i])
	}
	out.gauge(tcpActive, float64(s.opened.Load()-ended), k.listener, k.service)
	out.histogram(tcpDuration, &s.duration, &s.sum, k.listener, k.service)
	out.counter(tcpReceived, float64(s.in.Load()), k.listener, k.service)
	out.counter(tcpSent, float64(s.out.Load()), k.listener, k.service)
}

func (s *Service) collect(out scrape) {
	for i := range s.retries {
		out.counter(serviceRetries, float64(s.retries[i].Load()), s.name, reasonNames[i])
	}
	for i := range s.incidents {
		out.counter(serviceIncidents[i], float64(s.incidents[i].Load()), s.name)
	}
	for i := range s.shed {
		out.counter(serviceShed, float64(s.shed[i].Load()), s.name, priorityNames[i])
	}
	read := s.sample.Load()
	if read == nil {
		return
	}
	v := (*read)()
	if v.Limit > 0 {
		out.gauge(serviceLimit, float64(v.Limit), s.name)
	}
	if v.AdmissionLevel >= 0 {
		out.gauge(serviceLevel, v.AdmissionLevel, s.name)
	}
	out.gauge(serviceInFlight, float64(v.InFlight), s.name)
	out.gauge(serviceQueued, float64(v.Queued), s.name)
	out.gauge(serviceHeld, float64(v.Held), s.name)
	out.gauge(serviceMembers, float64(v.Members), s.name)
	out.gauge(serviceReady, float64(v.Ready), s.name)
	out.flag(servicePanic, v.Panic, s.name)
	out.breaker(serviceBreaker, v.Breaker, s.name)
}

func (m *Member) collect(out scrape) {
	k := m.key
	for i := range m.results {
		out.counter(memberRequests, float64(m.results[i].Load()), k.service, k.member, classNames[i])
	}
	out.histogram(memberDuration, &m.duration, &m.sum, k.service, k.member)
	out.counter(memberEjections, float64(m.ejections.Load()), k.service, k.member)
	out.counter(memberOpens, float64(m.opens.Load()), k.service, k.member)
	bad, good := m.probes[0].Load(), m.probes[1].Load()
	out.counter(memberProbes, float64(bad), k.service, k.member, "bad")
	out.counter(memberProbes, float64(good), k.service, k.member, "good")
	if bad+good > 0 {
		out.gauge(memberProbed, float64(m.probed.Load())/1e9, k.service, k.member)
	}
	read := m.sample.Load()
	if read == nil {
		return
	}
	v := (*read)()
	out.gauge(memberInFlight, float64(v.InFlight), k.service, k.member)
	out.flag(memberUp, v.Up, k.service, k.member)
	out.flag(memberEjected, v.Ejected, k.service, k.member)
	out.flag(memberDraining, v.Draining, k.service, k.member)
	out.breaker(memberBreaker, v.Breaker, k.service, k.member)
	out.gauge(memberLatency, v.Latency.Seconds(), k.service, k.member)
	out.gauge(memberShare, v.Share, k.service, k.member)
}
