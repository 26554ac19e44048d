package postgres

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/backstay/backstay/internal/act/account"
)

// CheckHBA says what is wrong with lines for pg_hba.conf that a user set.
func CheckHBA(lines []string) error {
	for _, l := range lines {
		if strings.ContainsAny(l, "\n\r\x00") {
			return fmt.Errorf("pg_hba line %q: one line each", l)
		}
		if f := strings.Fields(l); len(f) < 4 && !strings.HasPrefix(l, "#") && !strings.HasPrefix(l, "include") {
			return fmt.Errorf("pg_hba line %q: want type, database, user, address and method", l)
		}
	}
	return nil
}

// hba lets the superuser in over the local socket, members over the network, and then whom the user lets in.
func (e *Engine) hba(o Options) string {
	host := "host"
	if o.TLS != nil {
		host = "hostssl"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by Backstay. Lines of your own belong into its configuration.\nlocal all %s peer map=backstay\n", hbaWord(o.Superuser))
	members := []string{o.Listen}
	for _, n := range slices.Sorted(maps.Keys(o.Peers)) {
		if h, _, err := net.SplitHostPort(o.Peers[n]); err == nil {
			members = append(members, h)
		}
	}
	for i, m := range members {
		members[i] = hbaAddress(m)
	}
	slices.Sort(members)
	members = slices.Compact(members)
	for _, m := range members {
		fmt.Fprintf(&b, "%s replication %s %s scram-sha-256\n%s all %s %s scram-sha-256\n", host, replicator, m, host, rewinder, m)
	}
	fmt.Fprintf(&b, "host all,replication %s,%s all reject\n", replicator, rewinder)
	for _, l := range o.HBA {
		b.WriteString(l + "\n")
	}
	fmt.Fprintf(&b, "local all all scram-sha-256\n")
	for _, m := range members { // clients by way of a node: TLS is up to them
		fmt.Fprintf(&b, "host all all %s scram-sha-256\n", m)
	}
	fmt.Fprintf(&b, "host all all 127.0.0.0/8 scram-sha-256\nhost all all ::1/128 scram-sha-256\n")
	return b.String()
}

func hbaAddress(host string) string {
	ip := net.ParseIP(host)
	switch {
	case ip == nil:
		return hbaWord(host)
	case ip.IsUnspecified():
		return "samehost"
	case ip.IsLoopback() && ip.To4() != nil:
		return "127.0.0.0/8" // from where a connection to one of them comes is not said
	case ip.To4() != nil:
		return ip.String() + "/32"
	}
	return ip.String() + "/128"
}

func hbaWord(w string) string { return `"` + strings.ReplaceAll(w, `"`, `""`) + `"` }

// ident says which users of the operating system may be the superuser over the local socket.
func ident(o Options, acc account.Account) string {
	names := []string{acc.Name, "root"}
	slices.Sort(names)
	var b strings.Builder
	for _, n := range slices.Compact(names) {
		fmt.Fprintf(&b, "backstay %s %s\n", hbaWord(n), hbaWord(o.Superuser))
	}
	return b.String()
}
