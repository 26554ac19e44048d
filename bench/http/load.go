package main

import (
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"github.com/backstay/backstay/bench/internal/process"
)

// sample is what one run of wrk against one proxy showed.
type sample struct {
	rate     float64       // requests per second
	cpu      time.Duration // spent by the proxy for one request
	p50, p99 time.Duration
	errors   int64
	memory   int64 // proportional set size at the end, bytes
}

var (
	wrkRate    = regexp.MustCompile(`(\d+) requests in`)
	wrkLatency = regexp.MustCompile(`\s+(50|99)%\s+([\d.]+)(us|ms|s)`)
	wrkErrors  = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
	wrkStatus  = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
)

// load runs wrk for the given time over kept-alive connections.
func load(p *process.Process, cpus, url string, connections int, d time.Duration) (sample, error) {
	before, began := p.CPU(), time.Now()
	out, err := exec.Command("taskset", "-c", cpus, "wrk", "-t1", "-c", strconv.Itoa(connections),
		"-d", fmt.Sprintf("%.0fs", d.Seconds()), "--latency", "--timeout", "10s", url).CombinedOutput()
	took := time.Since(began)
	used := p.CPU() - before
	if err != nil {
		return sample{}, fmt.Errorf("wrk %s: %w: %s", url, err, out)
	}
	m := wrkRate.FindSubmatch(out)
	if m == nil {
		return sample{}, fmt.Errorf("wrk %s said: %s", url, out)
	}
	requests, _ := strconv.ParseFloat(string(m[1]), 64)
	if requests == 0 {
		return sample{}, fmt.Errorf("%s: not one request was answered: %s\n%s", p.Name, out, p.Log)
	}
	s := sample{rate: requests / took.Seconds(), cpu: time.Duration(float64(used) / requests), memory: p.Memory()}
	for _, l := range wrkLatency.FindAllSubmatch(out, -1) {
		d, _ := time.ParseDuration(string(l[2]) + string(l[3]))
		if string(l[1]) == "50" {
			s.p50 = d
		} else {
			s.p99 = d
		}
	}
	for _, re := range []*regexp.Regexp{wrkErrors, wrkStatus} {
		if m := re.FindSubmatch(out); m != nil {
			for _, n := range m[1:] {
				v, _ := strconv.ParseInt(string(n), 10, 64)
				s.errors += v
			}
		}
	}
	return s, nil
}
