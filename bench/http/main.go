// Command http measures HAProxy, nginx, Caddy and Backstay side by side, on this machine, in one go: the same members
// behind them, the same load before them, rounds in which they take turns, medians. It prints requests per second,
// latency, CPU per request, memory, and Backstay's ratios to each peer.
//
//	go run ./bench/http -rounds 5 -duration 5s
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay/bench/internal/process"
)

type options struct {
	rounds      int
	duration    time.Duration
	connections []int
	cores       []int
	schemes     []string
	peers       []string
	parts       []string
	idle        int
	bulk        int64
	backstay    string
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	var o options
	connections := flag.String("connections", "64,512", "kept-alive connections, each a row")
	cores := flag.String("cores", "1,2", "cores for the proxy, each a row")
	schemes := flag.String("schemes", "http,https", "http, https")
	names := flag.String("peers", "haproxy,nginx,caddy,backstay", "who takes part")
	parts := flag.String("parts", "requests,idle,bulk", "what is measured")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds; medians are printed")
	flag.DurationVar(&o.duration, "duration", 4*time.Second, "length of one run")
	flag.IntVar(&o.idle, "idle", 10000, "idle connections for the memory row")
	flag.Int64Var(&o.bulk, "bulk", 4, "GiB sent through the TCP proxy in one run")
	flag.StringVar(&o.backstay, "backstay", "bin/backstay", "the binary under test")
	flag.Parse()
	o.schemes, o.peers, o.parts = strings.Split(*schemes, ","), strings.Split(*names, ","), strings.Split(*parts, ",")
	var err error
	if o.connections, err = numbers(*connections); err != nil {
		return err
	}
	if o.cores, err = numbers(*cores); err != nil {
		return err
	}

	r, stop, err := newRig(o)
	if err != nil {
		return err
	}
	defer stop()
	fmt.Printf("%s, %d cores, %s; %d rounds of %s, medians\n\n", cpuModel(), runtime.NumCPU(), kernel(), o.rounds, o.duration)
	for _, part := range o.parts {
		switch part {
		case "requests":
			err = measureRequests(r, o)
		case "idle":
			err = measureIdle(r, o)
		case "bulk":
			err = measureBulk(r, o)
		default:
			err = fmt.Errorf("unknown part %q: requests, idle or bulk", part)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// each starts the chosen peers on the given cores and hands them over.
func each(r *rig, o options, cores int, do func(names []string, procs map[string]*process.Process, at map[string]ports) error) error {
	cpus := "0"
	if cores > 1 {
		cpus = fmt.Sprintf("0-%d", cores-1)
	}
	procs, at := map[string]*process.Process{}, map[string]ports{}
	var names []string
	defer func() {
		for _, p := range procs {
			p.Stop()
		}
	}()
	for _, p := range peers {
		if !slices.Contains(o.peers, p.name) {
			continue
		}
		proc, ports, err := p.start(r, cores, cpus)
		if err != nil {
			return err
		}
		names, procs[p.name], at[p.name] = append(names, p.name), proc, ports
	}
	time.Sleep(time.Second) // first health checks
	return do(names, procs, at)
}

func measureRequests(r *rig, o options) error {
	for _, cores := range o.cores {
		for _, scheme := range o.schemes {
			for _, conns := range o.connections {
				err := each(r, o, cores, func(names []string, procs map[string]*process.Process, at map[string]ports) error {
					samples := map[string][]sample{}
					for round := range o.rounds + 1 {
						for _, n := range names {
							port, d := at[n].http, o.duration
							if scheme == "https" {
								port = at[n].https
							}
							if round == 0 {
								d = time.Second // warm up
							}
							s, err := load(procs[n], loadCPUs(cores), fmt.Sprintf("%s://127.0.0.1:%d/", scheme, port), conns, d)
							if err != nil {
								return err
							}
							if round > 0 {
								samples[n] = append(samples[n], s)
							}
						}
					}
					printRequests(fmt.Sprintf("%s, %d connections, %d core(s), 1 KiB answers", scheme, conns, cores), names, samples)
					return nil
				})
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// loadCPUs keeps the load and the members off the proxy's only core; with two they share all.
func loadCPUs(cores int) string {
	if cores == 1 && runtime.NumCPU() > 1 {
		return "1"
	}
	return fmt.Sprintf("0-%d", runtime.NumCPU()-1)
}

func printRequests(title string, names []string, samples map[string][]sample) {
	fmt.Printf("## %s\n\n| | requests/s | requests per CPU-second | p50 | p99 | memory | errors | backstay's requests per CPU-second against it |\n|---|--:|--:|--:|--:|--:|--:|--:|\n", title)
	perCPU := func(n string) float64 {
		return 1 / median(samples[n], func(s sample) float64 { return s.cpu.Seconds() })
	}
	for _, n := range names {
		var errors int64
		for _, s := range samples[n] {
			errors += s.errors
		}
		ratio := "–"
		if n != "backstay" && len(samples["backstay"]) > 0 {
			ratio = fmt.Sprintf("%.2f", perCPU("backstay")/perCPU(n))
		}
		fmt.Printf("| %s | %.0f | %.0f | %s | %s | %.1f MiB | %d | %s |\n", n,
			median(samples[n], func(s sample) float64 { return s.rate }), perCPU(n),
			short(median(samples[n], func(s sample) float64 { return float64(s.p50) })),
			short(median(samples[n], func(s sample) float64 { return float64(s.p99) })),
			median(samples[n], func(s sample) float64 { return float64(s.memory) })/(1<<20), errors, ratio)
	}
	fmt.Println()
}

func short(ns float64) string { return time.Duration(ns).Round(10 * time.Microsecond).String() }

func median[T any](all []T, of func(T) float64) float64 {
	var values []float64
	for _, v := range all {
		values = append(values, of(v))
	}
	slices.Sort(values)
	n := len(values)
	if n == 0 {
		return 0
	}
	return (values[(n-1)/2] + values[n/2]) / 2
}

func numbers(list string) ([]int, error) {
	var out []int
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(word)
		if err != nil {
			return nil, fmt.Errorf("%q is not a list of numbers", list)
		}
		out = append(out, n)
	}
	return out, nil
}

// newRig starts the members: one nginx that answers 1 KiB on three ports, off the proxy's core.
func newRig(o options) (*rig, func(), error) {
	dir, err := os.MkdirTemp("", "backstay-bench-")
	if err != nil {
		return nil, nil, err
	}
	r := &rig{dir: dir, backstay: o.backstay}
	var web *process.Process
	var bulk net.Listener
	stop := func() {
		web.Stop()
		if bulk != nil {
			bulk.Close()
		}
		os.RemoveAll(dir)
	}
	fail := func(err error) (*rig, func(), error) { stop(); return nil, nil, err }
	if r.cert, err = certificate(dir); err != nil {
		return fail(err)
	}
	p, err := process.FreePorts(3)
	if err != nil {
		return fail(err)
	}
	var listens strings.Builder
	for _, port := range p {
		r.members = append(r.members, fmt.Sprintf("127.0.0.1:%d", port))
		fmt.Fprintf(&listens, "listen 127.0.0.1:%d; ", port)
	}
	conf, err := r.write("members.conf", fmt.Sprintf(`
daemon off; user root; pid %[1]s/members.pid; error_log stderr crit; worker_processes 1;
events { worker_connections 15000; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p;
  fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server { %[2]s location / { default_type text/plain; return 200 "%[3]s"; } }
}
`, dir, &listens, strings.Repeat("x", 1024)))
	if err != nil {
		return fail(err)
	}
	if web, err = process.Start("members", loadCPUs(1), nil, "/usr/sbin/nginx", "-c", conf, "-e", "stderr"); err != nil {
		return fail(err)
	}
	if err := web.AwaitPort(r.members[0]); err != nil {
		return fail(err)
	}
	if bulk, err = serveBulk(o.bulk << 30); err != nil {
		return fail(err)
	}
	r.bulk = bulk.Addr().String()
	return r, stop, nil
}

// certificate writes a self-signed ECDSA P-256 certificate with its key into one file.
func certificate(dir string) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return "", err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...)
	path := filepath.Join(dir, "cert.pem")
	return path, os.WriteFile(path, text, 0o600)
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "model name") {
			_, name, _ := strings.Cut(line, ":")
			return strings.TrimSpace(name)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	text, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return "Linux " + strings.TrimSpace(string(text))
}
