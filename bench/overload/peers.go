package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/backstay/backstay/bench/internal/process"
)

// A peer is a proxy under test, set up as well as its documentation says for an application whose capacity is known.
type peer struct {
	name, title string
	start       func(o *options, port, admin int) (*process.Process, error)
}

var errAbsent = errors.New("the program is not there")

var peers = []peer{
	{"backstay", "Backstay, `limit: 10`, `shed: on`", startBackstay("limit: {concurrency: %d}\n    shed: on")},
	{"backstay-adaptive", "Backstay, `limit: adaptive`", startBackstay("limit: adaptive # %d")},
	{"haproxy", "HAProxy, `maxconn`, queue, `set-priority-class`", startHAProxy},
	{"nginx", "nginx, `limit_conn`, `limit_req`", startNginx},
	{"skipper", "Skipper, `lifoGroup`", startSkipper},
}

func write(o *options, name, text string) (string, error) {
	path := filepath.Join(o.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

func startBackstay(protection string) func(*options, int, int) (*process.Process, error) {
	return func(o *options, port, _ int) (*process.Process, error) {
		path, err := write(o, fmt.Sprintf("backstay-%d.yaml", port), fmt.Sprintf(`services:
  - name: app
    members: [%q]
    `+protection+`
listeners:
  - listen: "127.0.0.1:%d"
    routes:
      - {match: /critical, service: app, priority: critical}
      - {service: app}
`, o.app, o.workers, port))
		if err != nil {
			return nil, err
		}
		return process.Start("backstay", "", nil, o.backstay, "run", "--config", path, "--data", filepath.Join(o.dir, fmt.Sprint("data-", port)))
	}
}

func startHAProxy(o *options, port, _ int) (*process.Process, error) {
	path, err := write(o, "haproxy.cfg", fmt.Sprintf(`global
  nbthread 1
  maxconn 8000
  log stderr local0 emerg
defaults
  mode http
  timeout connect 1s
  timeout client 30s
  timeout server 30s
  timeout queue 1s
frontend f
  bind 127.0.0.1:%d
  http-request set-priority-class int(-100) if { path_beg /critical }
  default_backend b
backend b
  server app %s maxconn %d
`, port, o.app, o.workers))
	if err != nil {
		return nil, err
	}
	return process.Start("haproxy", "", nil, "haproxy", "-db", "-f", path)
}

func startNginx(o *options, port, _ int) (*process.Process, error) {
	path, err := write(o, "nginx.conf", fmt.Sprintf(`daemon off;
pid %s/nginx.pid;
error_log stderr crit;
worker_processes 1;
events { worker_connections 8192; }
http {
  access_log off;
  client_body_temp_path %s; proxy_temp_path %s; fastcgi_temp_path %s; uwsgi_temp_path %s; scgi_temp_path %s;
  limit_conn_zone $server_port zone=conns:1m;
  limit_req_zone $server_port zone=rate:1m rate=%.0fr/s;
  upstream app { server %s; keepalive 64; }
  server {
    listen 127.0.0.1:%d;
    keepalive_requests 1000000;
    location / {
      limit_conn conns %d;
      limit_req zone=rate burst=%d nodelay;
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }
  }
}
`, o.dir, o.dir, o.dir, o.dir, o.dir, o.dir, o.capacity, o.app, port, o.workers, o.workers))
	if err != nil {
		return nil, err
	}
	return process.Start("nginx", "", nil, "nginx", "-p", o.dir, "-c", path, "-e", "stderr")
}

func startSkipper(o *options, port, admin int) (*process.Process, error) {
	if _, err := os.Stat(o.skipper); err != nil {
		return nil, errAbsent
	}
	routes := fmt.Sprintf(`app: * -> lifoGroup("app", %d, 100, "1s") -> "http://%s";`, o.workers, o.app)
	return process.Start("skipper", "", nil, o.skipper, "-address", fmt.Sprintf("127.0.0.1:%d", port), "-support-listener", fmt.Sprintf("127.0.0.1:%d", admin),
		"-inline-routes", routes, "-access-log-disabled", "-application-log-level", "ERROR")
}
