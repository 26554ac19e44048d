package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// patience is how long a client waits: what comes later is no success.
const patience = time.Second

// call is one request.
type call struct {
	at       time.Duration // when it was due
	took     time.Duration // from then on
	critical bool
	good     bool
}

// drive sends the load, open loop: each request leaves when it is due, whatever became of the others.
func drive(o *options, at string) []call {
	dialer := net.Dialer{Timeout: patience}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: dialer.DialContext, MaxIdleConns: 4096, MaxIdleConnsPerHost: 4096, DisableCompression: true,
	}}
	defer client.CloseIdleConnections()
	random := rand.New(rand.NewPCG(1, 2)) // the same load for all
	var mu sync.Mutex
	var calls []call
	var work sync.WaitGroup
	began := time.Now()
	end := o.calm + o.spike + o.after
	for due := time.Duration(0); due < end; {
		rate := o.capacity / 2
		if due >= o.calm && due < o.calm+o.spike {
			rate = o.capacity * o.times
		}
		due += time.Duration(random.ExpFloat64() / rate * float64(time.Second))
		c := call{at: due, critical: random.Float64() < o.criticalShare}
		time.Sleep(time.Until(began.Add(due)))
		work.Go(func() {
			c.good = ask(client, at, c.critical)
			c.took = time.Since(began) - c.at
			mu.Lock()
			calls = append(calls, c)
			mu.Unlock()
		})
	}
	work.Wait()
	slices.SortFunc(calls, func(a, b call) int { return int(a.at - b.at) })
	return calls
}

func ask(client *http.Client, at string, critical bool) bool {
	path := "/normal"
	if critical {
		path = "/critical"
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+at+path, nil)
	if err != nil {
		return false
	}
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return err == nil && res.StatusCode == http.StatusOK
}

// result is what one run showed.
type result struct {
	inTime           float64 // of critical requests in the spike: answered within twice the unloaded p99
	critical, others float64 // answered
	goodput          float64 // answered in the spike, of what the application could have done
	p50, p99         time.Duration
	unloaded         time.Duration // p99 of all requests before the spike
	normal           time.Duration // from the end of the spike until all is as before
	timeline         string
}

func judge(o *options, calls []call) (r result) {
	var before, within []time.Duration
	var criticals, others, good, in, goodOthers float64
	from, to := o.calm, o.calm+o.spike
	for _, c := range calls {
		if c.at > time.Second && c.at < from-time.Second/5 && c.good { // connections are there, the spike has not begun
			before = append(before, c.took)
		}
	}
	r.unloaded = quantile(before, 0.99)
	for _, c := range calls {
		if c.at < from || c.at >= to {
			continue
		}
		switch {
		case !c.critical:
			others++
			if c.good {
				goodOthers++
			}
			continue
		case c.good:
			good++
			within = append(within, c.took)
			if c.took <= 2*r.unloaded {
				in++
			}
		}
		criticals++
	}
	r.inTime, r.critical, r.others = in/criticals, good/criticals, goodOthers/others
	r.goodput = (good + goodOthers) / (o.capacity * o.spike.Seconds())
	r.p50, r.p99 = quantile(within, 0.5), quantile(within, 0.99)
	r.normal = recovery(calls, to, 2*r.unloaded)
	r.timeline = timeline(o, calls)
	return r
}

// recovery is from the end of the spike until the last tenth of a second in which more than one in a hundred requests, and more than one,
// failed or took too long.
func recovery(calls []call, end, bound time.Duration) (last time.Duration) {
	const step = time.Second / 10
	all, bad := map[time.Duration]int{}, map[time.Duration]int{}
	for _, c := range calls {
		if c.at >= end {
			all[(c.at-end)/step]++
			if !c.good || c.took > bound {
				bad[(c.at-end)/step]++
			}
		}
	}
	for i, n := range bad {
		if n > 1 && n*100 > all[i] {
			last = max(last, (i+1)*step)
		}
	}
	return last
}

func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(int(q*float64(len(all))), len(all)-1)]
}

// timeline is every half second of a run: requests, those answered, and the p99 of critical ones.
func timeline(o *options, calls []call) string {
	const step = time.Second / 2
	var b strings.Builder
	for at := time.Duration(0); at < o.calm+o.spike+o.after; at += step {
		var n, good [2]int
		var took []time.Duration
		for _, c := range calls {
			if c.at < at || c.at >= at+step {
				continue
			}
			class := 0
			if c.critical {
				class = 1
			}
			n[class]++
			if c.good {
				good[class]++
				if c.critical {
					took = append(took, c.took)
				}
			}
		}
		fmt.Fprintf(&b, "    %5.1fs critical %3d of %3d (p99 %4.0f ms), others %3d of %3d\n", at.Seconds(), good[1], n[1],
			quantile(took, 0.99).Seconds()*1000, good[0], n[0])
	}
	return b.String()
}
