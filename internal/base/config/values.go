package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time; in YAML it carries its unit: 250ms, 1m30s, 7d.
type Duration time.Duration

// Size is a number of bytes; in YAML it carries its unit: 512B, 64KiB, 1MiB, 10MB.
type Size int64

// Percent is a share of a hundred; in YAML 20% or 20.
type Percent float64

// ParseDuration reads 250ms, 1m30s, 1.5h or 7d; a bare 0 is the only number without a unit. Negative durations are refused.
func ParseDuration(s string) (Duration, error) {
	text := strings.TrimSpace(s)
	switch {
	case text == "":
		return 0, fmt.Errorf("a duration is missing, such as 250ms, 10s or 1m30s")
	case text == "0":
		return 0, nil
	case strings.HasPrefix(text, "-"):
		return 0, fmt.Errorf("%s is negative; a duration is 0 or longer", text)
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return 0, fmt.Errorf("%s has no unit: write %sms, %ss or %sm for milliseconds, seconds or minutes", text, text, text, text)
	}
	rest, days := text, 0.0
	if before, after, found := strings.Cut(text, "d"); found {
		n, err := strconv.ParseFloat(before, 64)
		if err != nil || n < 0 || math.IsNaN(n) || n > math.MaxInt64/float64(24*time.Hour)-1 {
			return 0, notDuration(text)
		}
		if days, rest = n, after; rest == "" {
			rest = "0"
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 {
		return 0, notDuration(text)
	}
	whole := time.Duration(days * float64(24*time.Hour))
	if whole > math.MaxInt64-d {
		return 0, notDuration(text)
	}
	return Duration(whole + d), nil
}

func notDuration(text string) error {
	return fmt.Errorf("%q is not a duration: write a number with its unit (ms, s, m, h or d), such as 250ms, 10s or 1m30s", text)
}

// String writes the duration the way ParseDuration reads it, in the largest units that fit: 7d, 1m30s, 250ms.
func (d Duration) String() string {
	t := time.Duration(d)
	if t <= 0 {
		return "0s"
	}
	var b strings.Builder
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}} {
		if n := t / unit.size; n > 0 {
			b.WriteString(strconv.FormatInt(int64(n), 10) + unit.name)
			t %= unit.size
		}
	}
	if t > 0 {
		b.WriteString(t.String())
	}
	return b.String()
}

// MarshalText writes the duration as String does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDuration(string(text))
	return err
}

// sizeUnits are asked from the largest to the smallest.
var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"kB", 1e3}, {"B", 1},
}

// ParseSize reads 512B, 64KiB, 1.5MiB or 10MB; a bare 0 is the only number without a unit. Negative sizes are refused.
func ParseSize(s string) (Size, error) {
	text := strings.TrimSpace(s)
	if text == "0" {
		return 0, nil
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return 0, fmt.Errorf("%s has no unit: write %sB, %sKiB or %sMiB", text, text, text, text)
	}
	for _, unit := range sizeUnits {
		number, found := strings.CutSuffix(text, unit.name)
		if !found {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(n >= 0) || n*float64(unit.bytes) >= math.MaxInt64 {
			break
		}
		if whole, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64); err == nil {
			return Size(whole * unit.bytes), nil
		}
		return Size(n * float64(unit.bytes)), nil
	}
	return 0, fmt.Errorf("%q is not a size: write a number with its unit (B, KiB, MiB, GiB or KB, MB, GB), such as 64KiB", text)
}

// String writes the size the way ParseSize reads it, in the largest unit that divides it: 64KiB, 10MB, 513B.
func (s Size) String() string {
	for _, unit := range sizeUnits {
		if s > 0 && int64(s)%unit.bytes == 0 {
			return strconv.FormatInt(int64(s)/unit.bytes, 10) + unit.name
		}
	}
	return "0B"
}

// MarshalText writes the size as String does.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what ParseSize reads.
func (s *Size) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSize(string(text))
	return err
}

// ParsePercent reads 20%, 0.5% or 20; what is below 0 or above 100 is refused.
func ParsePercent(s string) (Percent, error) {
	text := strings.TrimSpace(s)
	n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(text, "%")), 64)
	if err != nil || math.IsNaN(n) {
		return 0, fmt.Errorf("%q is not a percentage: write a number from 0%% to 100%%, such as 20%%", text)
	}
	if n < 0 || n > 100 {
		return 0, fmt.Errorf("%s is not from 0%% to 100%%", text)
	}
	return Percent(n + 0), nil
}

// Of is the share as a factor: 20% is 0.2.
func (p Percent) Of() float64 { return float64(p) / 100 }

// String writes the share with its sign: 20%.
func (p Percent) String() string { return strconv.FormatFloat(float64(p), 'f', -1, 64) + "%" }

// MarshalText writes the share as String does.
func (p Percent) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what ParsePercent reads.
func (p *Percent) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePercent(string(text))
	return err
}
