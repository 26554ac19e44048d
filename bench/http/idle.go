package main

import (
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/backstay/backstay/bench/internal/process"
)

// measureIdle opens connections, sends one request on each, leaves them idle, and divides the memory that came by their
// number.
func measureIdle(r *rig, o options) error {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err == nil && lim.Cur < uint64(o.idle)+1000 {
		lim.Cur = min(lim.Max, uint64(o.idle)+1000)
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
			return fmt.Errorf("%d open connections need a higher limit of open files: %w", o.idle, err)
		}
	}
	fmt.Printf("## %d idle connections\n\n| | memory before | memory with them | per connection | against haproxy |\n|---|--:|--:|--:|--:|\n", o.idle)
	var haproxy float64
	return each(r, o, 1, func(names []string, procs map[string]*process.Process, at map[string]ports) error {
		for _, n := range names {
			before := procs[n].Memory()
			conns, err := openIdle(fmt.Sprintf("127.0.0.1:%d", at[n].http), o.idle)
			if err == nil {
				time.Sleep(12 * time.Second) // what a proxy gives back once it sees that they stay idle
				with := procs[n].Memory()
				per := float64(with-before) / float64(o.idle)
				if n == "haproxy" {
					haproxy = per
				}
				ratio := "–"
				if haproxy > 0 && n != "haproxy" {
					ratio = fmt.Sprintf("%.2f", per/haproxy)
				}
				fmt.Printf("| %s | %.1f MiB | %.1f MiB | %.0f B | %s |\n", n, float64(before)/(1<<20), float64(with)/(1<<20), per, ratio)
			}
			for _, c := range conns {
				c.Close()
			}
			if err != nil {
				return fmt.Errorf("%s: %w", n, err)
			}
		}
		fmt.Println()
		return nil
	})
}

func openIdle(address string, n int) ([]net.Conn, error) {
	conns := make([]net.Conn, 0, n)
	buf := make([]byte, 16<<10)
	for i := range n {
		// Spread over several source addresses: one has too few ports for thousands of connections in quick succession.
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(1+i/5000), 1)}, Timeout: 5 * time.Second}
		c, err := d.Dial("tcp", address)
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+address+"\r\n\r\n"); err != nil {
			return conns, err
		}
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		got := 0
		for got < 1024 || !strings.Contains(string(buf[:got]), "\r\n\r\n") {
			m, err := c.Read(buf[got:])
			if err != nil {
				return conns, fmt.Errorf("connection %d: %w", i, err)
			}
			got += m
		}
	}
	return conns, nil
}
