package resolve

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/base/config"
)

const (
	maxRecords  = 256 // of one name that are used
	maxPriority = 9
	maxWeight   = 1 << 16
)

// question is what is looked up for a member.
type question struct {
	name string // as configured
	srv  bool
}

// answer is what a question stands for.
type answer struct {
	records []record // sorted, without repetition, at least one
	ttl     time.Duration
}

// record is one address; host, port, weight and priority are those of SRV.
type record struct {
	addr             netip.Addr
	host             string
	port             uint16
	weight, priority uint16
}

// labels are the names that the addresses of a member go by.
type labels map[string]string

// parse tells what to look up for an address, and the port where the answer has none; false where the address can be dialled as it is.
func parse(address string) (q question, port string, ok bool) {
	if service, found := strings.CutPrefix(address, "srv:"); found {
		return question{service, true}, "", true
	}
	if strings.HasPrefix(address, "unix:") {
		return question{}, "", false
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return question{}, "", false
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return question{}, "", false
	}
	return question{name: strings.ToLower(host)}, port, true
}

// tidy sorts an answer's records and takes out those that stand for the same address.
func (a answer) tidy() answer {
	slices.SortFunc(a.records, func(x, y record) int {
		return cmp.Or(x.addr.Compare(y.addr), cmp.Compare(x.port, y.port), cmp.Compare(x.priority, y.priority), cmp.Compare(y.weight, x.weight), cmp.Compare(x.host, y.host))
	})
	a.records = slices.CompactFunc(a.records, func(x, y record) bool { return x.addr == y.addr && x.port == y.port })
	if len(a.records) > maxRecords {
		a.records = a.records[:maxRecords]
	}
	return a
}

// expand makes endpoints of a member's answer. Addresses that were there before keep their names.
func expand(m config.Member, q question, port string, a answer, before labels) ([]Endpoint, labels) {
	endpoints := make([]Endpoint, 0, len(a.records))
	now := make(labels, len(a.records))
	weights, tiers := shares(a.records), tiers(a.records)
	for i, r := range a.records {
		e := static(m)
		e.Host = cmp.Or(r.host, strings.TrimSuffix(q.name, "."))
		if q.srv {
			port = strconv.Itoa(int(r.port))
			e.Weight = min(m.Weight*weights[i], maxWeight)
			e.Priority = min(m.Priority+tiers[r.priority], maxPriority)
		}
		e.Address = net.JoinHostPort(r.addr.String(), port)
		switch label := before[e.Address]; {
		case label != "":
			e.Name = label
		case len(a.records) > 1:
			e.Name += "/" + e.Address
		}
		now[e.Address] = e.Name
		endpoints = append(endpoints, e)
	}
	return endpoints, now
}

// shares are the weights of SRV records in the smallest whole numbers. RFC 2782 gives weight 0 a very small share beside others.
func shares(records []record) []int {
	weights := make([]int, len(records))
	divisor := 0
	for i, r := range records {
		weights[i] = int(r.weight)
		divisor = gcd(divisor, weights[i])
	}
	for i := range weights {
		weights[i] = max(weights[i]/max(divisor, 1), 1)
	}
	return weights
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// tiers counts the priorities of SRV records from 0, the lowest number first.
func tiers(records []record) map[uint16]int {
	var priorities []uint16
	for _, r := range records {
		priorities = append(priorities, r.priority)
	}
	slices.Sort(priorities)
	tier := map[uint16]int{}
	for i, p := range slices.Compact(priorities) {
		tier[p] = i
	}
	return tier
}
