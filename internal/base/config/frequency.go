package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ParseFrequency reads 100/s, 600/m or 1000/h as a number per second.
func ParseFrequency(s string) (perSecond float64, err error) {
	number, unit, _ := strings.Cut(s, "/")
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	seconds := map[string]float64{"s": 1, "m": 60, "h": 3600}[strings.TrimSpace(unit)]
	if err != nil || seconds == 0 || !(n > 0) || math.IsInf(n, 0) || n > 1e9 {
		return 0, fmt.Errorf("%q is no number of requests in a time: write 100/s, 600/m or 1000/h", s)
	}
	return n / seconds, nil
}
