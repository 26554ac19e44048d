package pool

import "github.com/backstay/backstay/resilience"

// LimitStatus is a service's concurrency limit at one moment, for people.
type LimitStatus struct {
	Concurrency int  `json:"concurrency"`
	Adaptive    bool `json:"adaptive"`
	InUse       int  `json:"in_use"`
}

// ShedStatus is a service's shedding at one moment, for people.
type ShedStatus struct {
	AdmissionLevel float64 `json:"admission_level"` // the share of requests that are let in, by priority: 1 is all
	Below          string  `json:"below,omitempty"` // requests below this class are refused; empty where none are
	Refused        uint64  `json:"refused"`         // since the service began
	DelaySeconds   float64 `json:"delay_seconds"`   // what requests wait at least
}

func (s *Service) limitStatus() *LimitStatus {
	var now resilience.LimitSnapshot
	a := s.protect.adaptive.Load()
	if a != nil {
		now = a.Snapshot()
	} else {
		now = s.limit.Snapshot()
	}
	if now.Concurrency == 0 {
		return nil
	}
	return &LimitStatus{Concurrency: now.Concurrency, Adaptive: a != nil, InUse: now.InUse}
}

func (s *Service) shedStatus() *ShedStatus {
	shed := s.protect.shed.Load()
	if shed == nil {
		return nil
	}
	now := shed.Snapshot()
	st := &ShedStatus{AdmissionLevel: 1 - now.Level, Refused: s.protect.shedding.refused.Load(), DelaySeconds: now.Delay.Seconds()}
	if now.Level > 0 {
		st.Below = border(now)
	}
	return st
}
