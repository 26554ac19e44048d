package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/backstay/backstay/bench/internal/process"
)

// A peer is a proxy under test: how it is configured for the same job, and started.
type peer struct {
	name  string
	start func(r *rig, cores int, cpus string) (*process.Process, ports, error)
}

// ports are where a running proxy listens on 127.0.0.1.
type ports struct{ http, https, tcp int }

// rig is what all peers share: the members behind them, a certificate and a folder.
type rig struct {
	dir      string
	backstay string
	members  []string // host:port of one server, three times
	bulk     string   // host:port that sends without end
	cert     string   // PEM: chain and key in one file
}

var peers = []peer{
	{"haproxy", startHAProxy},
	{"nginx", startNginx},
	{"caddy", startCaddy},
	{"backstay", startBackstay},
}

// write puts a configuration into the folder of this run and returns its path.
func (r *rig) write(name, text string) (string, error) {
	path := filepath.Join(r.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

func newPorts() (ports, error) {
	p, err := process.FreePorts(3)
	if err != nil {
		return ports{}, err
	}
	return ports{http: p[0], https: p[1], tcp: p[2]}, nil
}

// launch starts argv and waits until it listens.
func launch(name, cpus string, env []string, p ports, argv ...string) (*process.Process, ports, error) {
	proc, err := process.Start(name, cpus, env, argv...)
	if err != nil {
		return nil, p, err
	}
	for _, port := range []int{p.http, p.https, p.tcp} {
		if err := proc.AwaitPort("127.0.0.1:" + strconv.Itoa(port)); err != nil {
			proc.Stop()
			return nil, p, err
		}
	}
	return proc, p, nil
}

func startHAProxy(r *rig, cores int, cpus string) (*process.Process, ports, error) {
	p, err := newPorts()
	if err != nil {
		return nil, p, err
	}
	var servers strings.Builder
	for i, m := range r.members {
		fmt.Fprintf(&servers, "  server s%d %s check inter 2s\n", i, m)
	}
	path, err := r.write(fmt.Sprintf("haproxy-%d.cfg", cores), fmt.Sprintf(`global
  nbthread %d
  no strict-limits
  maxconn 15000
  log stderr local0 emerg
defaults
  mode http
  timeout connect 1s
  timeout client 75s
  timeout server 15s
  timeout http-keep-alive 75s
  retries 3
  option redispatch
  retry-on conn-failure empty-response 502 503 504
frontend web
  bind 127.0.0.1:%d
  bind 127.0.0.1:%d ssl crt %s alpn http/1.1
  http-request use-service prometheus-exporter if { path /metrics }
  option forwardfor
  default_backend web
backend web
  balance random(2)
  option httpchk GET /healthz
%slisten bulk
  mode tcp
  bind 127.0.0.1:%d
  option splice-auto
  server b %s
`, cores, p.http, p.https, r.cert, &servers, p.tcp, r.bulk))
	if err != nil {
		return nil, p, err
	}
	return launch("haproxy", cpus, nil, p, "/usr/sbin/haproxy", "-db", "-f", path)
}

func startNginx(r *rig, cores int, cpus string) (*process.Process, ports, error) {
	p, err := newPorts()
	if err != nil {
		return nil, p, err
	}
	var servers strings.Builder
	for _, m := range r.members {
		fmt.Fprintf(&servers, "    server %s max_fails=3 fail_timeout=2s;\n", m)
	}
	dir := filepath.Join(r.dir, fmt.Sprintf("nginx-%d", cores))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, p, err
	}
	path, err := r.write(fmt.Sprintf("nginx-%d.conf", cores), fmt.Sprintf(`
include /etc/nginx/modules-enabled/*.conf;
daemon off; user root; pid %[1]s/pid; error_log stderr crit; worker_processes %[2]d;
events { worker_connections 15000; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 75s;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  upstream web {
    random two least_conn;
%[3]s    keepalive 256; keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:%[4]d; listen 127.0.0.1:%[5]d ssl; ssl_certificate %[6]s; ssl_certificate_key %[6]s;
    location / {
      proxy_pass http://web; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_next_upstream error timeout http_502 http_503 http_504;
    }
  }
}
stream { server { listen 127.0.0.1:%[7]d; proxy_pass %[8]s; } }
`, dir, cores, &servers, p.http, p.https, r.cert, p.tcp, r.bulk))
	if err != nil {
		return nil, p, err
	}
	return launch("nginx", cpus, nil, p, "/usr/sbin/nginx", "-c", path, "-e", "stderr")
}

func startCaddy(r *rig, cores int, cpus string) (*process.Process, ports, error) {
	p, err := newPorts()
	if err != nil {
		return nil, p, err
	}
	site := fmt.Sprintf(`  reverse_proxy %s {
    lb_policy random_choose 2
    lb_retries 2
    health_uri /healthz
    health_interval 2s
    transport http {
      keepalive_idle_conns_per_host 256
    }
  }`, strings.Join(r.members, " "))
	path, err := r.write(fmt.Sprintf("Caddyfile-%d", cores), fmt.Sprintf(`{
  admin off
  auto_https off
  servers {
    metrics
  }
}
http://127.0.0.1:%d {
%s
}
https://127.0.0.1:%d {
  tls %s %s
%s
}
`, p.http, site, p.https, r.cert, r.cert, site))
	if err != nil {
		return nil, p, err
	}
	p.tcp = 0 // it has no TCP proxy
	proc, err := process.Start("caddy", cpus, []string{"GOMAXPROCS=" + strconv.Itoa(cores), "HOME=" + r.dir}, "caddy", "run", "--adapter", "caddyfile", "--config", path)
	if err != nil {
		return nil, p, err
	}
	return proc, p, proc.AwaitPort("127.0.0.1:" + strconv.Itoa(p.https))
}

func startBackstay(r *rig, cores int, cpus string) (*process.Process, ports, error) {
	p, err := newPorts()
	if err != nil {
		return nil, p, err
	}
	var members strings.Builder
	for _, m := range r.members {
		fmt.Fprintf(&members, "      - address: %s\n", m)
	}
	metrics, err := process.FreePorts(1)
	if err != nil {
		return nil, p, err
	}
	path, err := r.write(fmt.Sprintf("backstay-%d.yaml", cores), fmt.Sprintf(`
metrics: 127.0.0.1:%d
services:
  - name: web
    members:
%s    check: {http: /healthz, every: 2s}
  - name: bulk
    members: [{address: %s}]
listeners:
  - {name: http, listen: "127.0.0.1:%d", routes: [{service: web}]}
  - {name: https, listen: "127.0.0.1:%d", tls: {certificates: [{cert: %s, key: %s}]}, routes: [{service: web}]}
  - {name: bulk, listen: "127.0.0.1:%d", service: bulk}
`, metrics[0], &members, r.bulk, p.http, p.https, r.cert, r.cert, p.tcp))
	if err != nil {
		return nil, p, err
	}
	data := filepath.Join(r.dir, fmt.Sprintf("backstay-%d", cores))
	env := []string{"GOMAXPROCS=" + strconv.Itoa(cores)}
	return launch("backstay", cpus, env, p, r.backstay, "run", "--config", path, "--data", data)
}
