package main

import (
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/backstay/backstay/bench/internal/process"
)

// serveBulk sends size bytes to whoever connects, then closes.
func serveBulk(size int64) (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		block := make([]byte, 1<<20)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for sent := int64(0); sent < size; sent += int64(len(block)) {
					if _, err := c.Write(block); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l, nil
}

type bulkSample struct{ rate, cpu float64 } // GiB/s, CPU-seconds per GiB

func measureBulk(r *rig, o options) error {
	return each(r, o, 1, func(names []string, procs map[string]*process.Process, at map[string]ports) error {
		samples := map[string][]bulkSample{}
		names = slices.DeleteFunc(names, func(n string) bool { return at[n].tcp == 0 })
		for range o.rounds {
			for _, n := range names {
				before, began := procs[n].CPU(), time.Now()
				c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", at[n].tcp))
				if err != nil {
					return err
				}
				got, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 1<<20))
				c.Close()
				if err != nil || got != o.bulk<<30 {
					return fmt.Errorf("%s: %d of %d bytes came through: %w", n, got, o.bulk<<30, err)
				}
				gib := float64(o.bulk)
				samples[n] = append(samples[n], bulkSample{gib / time.Since(began).Seconds(), (procs[n].CPU() - before).Seconds() / gib})
			}
		}
		fmt.Printf("## TCP, %d GiB through one session, 1 core\n\n| | GiB/s | CPU-seconds per GiB | backstay's GiB/s against it |\n|---|--:|--:|--:|\n", o.bulk)
		rate := func(n string) float64 {
			return median(samples[n], func(s bulkSample) float64 { return s.rate })
		}
		for _, n := range names {
			ratio := "–"
			if n != "backstay" && rate("backstay") > 0 {
				ratio = fmt.Sprintf("%.2f", rate("backstay")/rate(n))
			}
			fmt.Printf("| %s | %.2f | %.3f | %s |\n", n, rate(n), median(samples[n], func(s bulkSample) float64 { return s.cpu }), ratio)
		}
		fmt.Println()
		return nil
	})
}
