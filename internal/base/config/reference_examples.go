package config

// referenceExamples are what the reference shows below a section, by its type. Each is a file of its own, but for
// services that it only names.
var referenceExamples = map[string]string{
	"Service": `services:
  - name: web
    members:
      - {address: 10.0.0.11:8080, zone: a}
      - {address: 10.0.0.12:8080, zone: b}
    check: {http: /healthz, every: 1s}
    timeout: {first_byte: 5s}
    fallback: [{respond: {status: 503, body: "back in a minute"}}]
`,
	"Member": `services:
  - name: web
    members:
      - 10.0.0.11:8080                       # short for {address: 10.0.0.11:8080}
      - {address: web.internal:8080, weight: 3}
      - {address: "srv:_http._tcp.example.org"}
      - {name: spare, address: 10.1.0.11:8080, priority: 1}
`,
	"Balance": `services:
  - name: cache
    members: [10.0.0.11:8080, 10.0.0.12:8080]
    balance: {policy: hash, hash: {header: X-Tenant}}
  - name: shop
    members: [10.0.0.21:8080, 10.0.0.22:8080]
    balance: {sticky: {cookie: shop_member, ttl: 1h}}
`,
	"Check": `services:
  - name: web
    members: [10.0.0.11:8080]
    check:
      http: {path: /healthz, status: 200, body: '"ok":\s*true'}
      every: 1s
      rise: 1
  - name: cache
    members: [10.0.0.31:6379]
    check: {tcp: {send: 'PING\r\n', expect: PONG}}
  - name: mail
    members: [10.0.0.41:25]
    check:
      all:
        - tcp: {expect: "^220 "}
        - exec: [/usr/local/bin/queue-is-short, --max, "100"]
      every: 10s
`,
	"Cache": `services:
  - name: web
    members: [10.0.0.11:8080, 10.0.0.12:8080]
    cache: 256MiB                            # short for {memory: 256MiB}
  - name: recommendations                    # asked for each request; when it fails, clients get its last good answer
    members: [10.0.0.21:8080]
    cache: {serve: false, disk: {path: /var/cache/backstay, size: 1GiB}}
    fallback: [{cache: 10m}, {respond: {status: 200, body: "[]"}}]
`,
	"Retry": `services:
  - name: web
    members: [10.0.0.11:8080]
    retry: {attempts: 2, on: [connect, reset, 503]}
  - name: payments
    members: [10.0.0.21:8080]
    retry: 1                                 # short for {attempts: 1}: never twice
`,
	"Limit": `services:
  - name: reports
    members: [10.0.0.11:8080]
    limit: {concurrency: 50, queue: 200, wait: 3s}
  - name: web
    members: [10.0.0.21:8080, 10.0.0.22:8080]
    limit: adaptive                          # finds the number, and sheds the least important requests first
`,
	"Rate": `services:
  - name: api
    members: [10.0.0.11:8080]
    rate: 1000/s                             # short for {requests: 1000/s}
  - name: partner
    members: [10.0.0.21:8080]
    rate: {requests: 50/s, shared: true}     # of all nodes together: what the partner allows
nodes:
  - {name: edge-1, address: 10.0.0.1}
  - {name: edge-2, address: 10.0.0.2}
listeners:
  - listen: ":80"
    rate: {requests: 20/s, burst: 100, per: client}
    routes:
      - {match: /login, service: api, rate: {requests: 10/m, per: client}}
      - {match: /v1, service: api, rate: {requests: 50/s, per: header, header: Authorization}}
      - {match: /partner, service: partner}
      - service: api
`,
	"Shed": `services:
  - name: shop
    members: [10.0.0.11:8080, 10.0.0.12:8080]
    shed: on
listeners:
  - listen: ":80"
    routes:
      - {match: /checkout, service: shop, priority: critical}
      - {match: /prefetch, service: shop, priority: sheddable}   # refused first
      - service: shop
`,
	"Hedge": `services:
  - name: search
    members: [10.0.0.11:8080, 10.0.0.12:8080]
    hedge: 99%                               # short for {quantile: 99%}
  - name: prices
    members: [10.0.0.21:8080, 10.0.0.22:8080, 10.0.0.23:8080]
    hedge: {quantile: 95%, max: 2}           # the third as well, when the second takes as long
`,
	"Fallback": `services:
  - name: recommendations
    members: [10.0.0.11:8080]
    fallback: [{cache: 10m}, {service: bestsellers}, {respond: {status: 200, body: "[]"}}]
  - name: bestsellers
    members: [10.0.0.21:8080]
`,
	"PriorityTokens": `priority_tokens:
  keys:
    - {id: "2026", secret: {file: /etc/backstay/priority.key}}
`,
	"Mode": `services:
  - name: recommendations
    members: [10.0.0.11:8080]
    limit: adaptive
modes:
  - name: recommendations-off
    when: {shedding: recommendations}
    service: recommendations
    respond: {status: 200, body: "[]"}
  - read-only                                # by hand: backstay degrade read-only on
`,
	"Listener": `listeners:
  - name: https
    listen: ":443"
    tls: {certificates: [{cert: /etc/backstay/shop.crt, key: /etc/backstay/shop.key}]}
    routes: [{service: web}]
  - listen: ":5432"
    service: db
`,
	"SNIRoute": `listeners:
  - listen: ":443"
    sni:
      - {names: [shop.example.org, "*.shop.example.org"], service: shop}
      - {names: "*", service: web}
`,
	"Route": `listeners:
  - listen: ":80"
    routes:
      - match: {host: old.example.org}
        redirect: {scheme: https, host: example.org}
      - {match: /health, respond: 204}
      - match: {path: /api, headers: {X-Beta: "yes|1"}}
        service: beta
      - match: /api
        split: [{service: api, weight: 95}, {service: canary, weight: 5}]
        rewrite: {strip: /api}
      - service: web
`,
	"Rewrite": `listeners:
  - listen: ":80"
    routes:
      - {match: /shop, service: web, rewrite: {strip: /shop, prefix: /v2}}
      - {match: {regex: "/u/([0-9]+)"}, service: web, rewrite: {regex: "^/u/([0-9]+)$", to: /users/$1}}
      - service: web
`,
	"HeaderEdit": `listeners:
  - listen: ":80"
    routes:
      - service: web
        request_headers: {set: {X-Api-Key: {env: API_KEY}}, remove: [Cookie]}
        response_headers: {set: {Strict-Transport-Security: max-age=31536000}}
`,
	"Tracing": `tracing:
  otlp: http://127.0.0.1:4318
  headers: {Authorization: {file: /run/secrets/otlp}}
  sample: 5%
`,
}
