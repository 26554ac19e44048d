package health

import (
	"slices"
	"time"

	"github.com/backstay/backstay/internal/base/config"
)

// What holds where a check is not given it. They are the defaults of the configuration as well.
const (
	defaultEvery   = 2 * time.Second
	defaultTimeout = time.Second
)

// every is the time between two looks.
func every(c config.Check, down bool) time.Duration {
	wait := c.Every
	if down {
		wait = c.Down()
	}
	if wait > 0 {
		return time.Duration(wait)
	}
	return defaultEvery
}

// timeout bounds a look with all its parts.
func timeout(c config.Check) time.Duration {
	longest := ownTimeout(c)
	for part := range parts(c) {
		longest = max(longest, timeout(inherit(part, c)))
	}
	return longest
}

func ownTimeout(c config.Check) time.Duration {
	if c.Timeout > 0 {
		return time.Duration(c.Timeout)
	}
	return defaultTimeout
}

// inherit returns a part of an all or any check with the port and the timeout of the whole where it has none of its own; the
// default counts as none. The schedule, rise, fall and grace are always those of the outermost check.
func inherit(part, whole config.Check) config.Check {
	if ownTimeout(part) == defaultTimeout {
		part.Timeout = config.Duration(ownTimeout(whole))
	}
	if part.Port == 0 {
		part.Port = whole.Port
	}
	return part
}

// parts are the checks that c joins; none where it looks itself.
func parts(c config.Check) func(func(config.Check) bool) {
	if len(c.All) > 0 {
		return slices.Values(c.All)
	}
	return slices.Values(c.Any)
}
