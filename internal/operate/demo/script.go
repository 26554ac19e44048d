package demo

import (
	"fmt"
	"net/http"
	"syscall"
	"time"
)

// A scene is one fault: what is done to which member, from when until when.
type scene struct {
	member       string
	service      string // where it concerns one as a whole
	slow         bool   // the balancer may deal with it alone
	title, over  string
	at, until    time.Duration
	begin, end   func(*stage) error
	begun, ended time.Time // when it really happened
}

// script spreads the scenes over the length of the demonstration.
func script(length time.Duration) []scene {
	at := func(part float64) time.Duration { return time.Duration(part * float64(length)) }
	return []scene{
		{
			member: "web-1", title: "web-1 is killed (SIGKILL)", over: "web-1 is started again",
			at: at(0.10), until: at(0.24),
			begin: func(s *stage) error { return s.kill("web-1") },
			end:   func(s *stage) error { return s.startMember("web-1") },
		},
		{
			member: "web-2", title: "web-2 hangs (SIGSTOP)", over: "web-2 goes on (SIGCONT)",
			at: at(0.40), until: at(0.52),
			begin: func(s *stage) error { return s.signal("web-2", syscall.SIGSTOP) },
			end:   func(s *stage) error { return s.signal("web-2", syscall.SIGCONT) },
		},
		{
			member: "web-3", slow: true, title: "web-3 becomes slow (400ms)", over: "web-3 is quick again",
			at: at(0.66), until: at(0.78),
			begin: func(s *stage) error { return s.delay("web-3", 400*time.Millisecond) },
			end:   func(s *stage) error { return s.delay("web-3", 0) },
		},
		{
			service: "checkout", title: "checkout gets three times its load", over: "the load is normal again",
			at: at(0.82), until: at(0.92),
			begin: func(s *stage) error { s.surge.start(); return nil },
			end:   func(s *stage) error { s.surge.stop(); return nil },
		},
	}
}

// delay tells a sample member to take so long for each answer.
func (s *stage) delay(name string, d time.Duration) error {
	resp, err := http.Post(fmt.Sprintf("http://%s/control?delay=%s", s.members[name].address, d), "", nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
