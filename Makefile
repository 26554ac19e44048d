# Every target does its own set-up. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.version=$(VERSION)
TOOL    := $(GO) tool -modfile=tools/go.mod

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## start the demo: a minute of faults in front of real processes, and a verdict (run-postgres: with PostgreSQL)
	bin/backstay demo $(ARGS)

run-postgres: build ## start the other demo: three nodes keep PostgreSQL up while it is killed; every write is accounted for
	@scripts/setup demo
	bin/backstay demo --postgres $(ARGS)

test: setup-test ## everything CI runs: unit tests with the race detector, end-to-end tests, short fuzzing
	scripts/test

check: ## format, vet, lint, architecture, known vulnerabilities
	scripts/check

build: bin/backstay ## bin/backstay

bin/backstay: FORCE
	@scripts/setup go
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/backstay

e2e: setup-test ## end-to-end tests against real nginx servers only
	$(GO) test -count=1 -v ./test/e2e/...

h2spec: ## the HTTP/2 conformance suite against Backstay and against Go's own server
	scripts/h2spec

cache-tests: build ## the npm package http-cache-tests against a running node; rewrites the results in docs/cache.md
	scripts/cache-tests $(ID)

fuzz: ## every fuzz target for FUZZTIME (default 1m) each
	scripts/fuzz $(or $(FUZZTIME),1m)

bench-http: build ## HAProxy, nginx, Caddy and Backstay side by side; prints ratios
	@scripts/setup bench
	$(GO) run ./bench/http $(ARGS)

bench-overload: build ## three times the load an application can bear, behind Backstay, HAProxy, nginx and Skipper
	@scripts/setup bench
	@scripts/skipper bin/skipper || echo "Skipper cannot be built here: it is left out" >&2
	$(GO) run ./bench/overload $(ARGS)

bench-failover: build ## faults of a PostgreSQL cluster as clients see them, beside Patroni: gaps, errors, lost rows, two primaries
	@scripts/setup bench-failover
	$(GO) run ./bench/failover $(ARGS)

bench-lib: ## the resilience library and others of its kind side by side; writes the table in docs/benchmarks.md
	cd bench/lib && $(GO) run . -write ../../docs/benchmarks.md $(ARGS)

sim: ## overload and partial failure in simulated time; writes docs/resilience.md and its pictures
	$(GO) test -count=1 ./test/sim -update

sim-failover: ## SCHEDULES (default 2000) random fault schedules of whole clusters in simulated time, RACE=1 with the race detector; SEED=N: that one again, with its log
	scripts/sim-failover $(if $(SEED),-seed $(SEED),$(or $(SCHEDULES),2000) $(or $(FIRST),1) $(if $(RACE),-race))

soak: setup-test ## node processes killed at random moments of every step, SOAK (default 10) times over with new seeds, on real PostgreSQL, Redis and scripts
	for i in $$(seq $(or $(SOAK),10)); do BACKSTAY_SEED=$$RANDOM BACKSTAY_ROUNDS=5 $(GO) test -race -count=1 -run NodeProcessesAreKilled ./internal/act/... || exit 1; done

bench: ## Go benchmarks of the hot paths, with allocations
	$(GO) test -run '^$$' -bench . -benchmem ./resilience/... ./internal/...

generate: ## rewrite what is generated: the configuration and command references
	$(GO) test ./internal/base/config ./internal/operate/cli -run 'Test' -update

clean: ## remove what was built
	rm -rf bin bench/results

setup-test:
	@scripts/setup test

.PHONY: sim soak sim-failover bench-overload bench-lib help run run-postgres test check build e2e h2spec cache-tests fuzz bench-http bench generate clean setup-test FORCE
FORCE:
