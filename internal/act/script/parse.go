package script

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/backstay/backstay/internal/decide/plan"
)

// A sight is what an observe command prints: JSON, or a line key=value for each of these keys. A missing role is none.
type sight struct {
	Running   *bool     `json:"running"`   // true where not given, unless the role is none
	Role      plan.Role `json:"role"`      // primary, standby or none
	Writable  *bool     `json:"writable"`  // would it take a client's write? A running primary would where not given
	Empty     bool      `json:"empty"`     // there is no data yet, or none of use
	SystemID  string    `json:"system_id"` // of the data's origin; the service's name where not given
	Timeline  uint32    `json:"timeline"`  // grows with each promotion; 1 where not given
	Position  uint64    `json:"position"`  // how much data it has; 1 where not given: then all count as equal
	Applied   uint64    `json:"applied"`   // of a standby, how much of that can be read; all where not given
	Upstream  string    `json:"upstream"`  // the node it replicates from; the last that Follow named where not given
	Streaming bool      `json:"streaming"` // the stream is up
	Standbys  []standby `json:"standbys"`  // of a primary; as key=value: standbys=b:120,c:118
	Problem   string    `json:"problem"`   // what is wrong
}

type standby struct {
	Node     string `json:"node"`
	Position uint64 `json:"position"`
}

// parse reads an observe command's output.
func parse(text []byte) (sight, error) {
	var s sight
	text = bytes.TrimSpace(text)
	switch {
	case len(text) == 0:
		return s, errors.New("it printed nothing")
	case text[0] == '{':
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&s); err != nil {
			return s, fmt.Errorf("its JSON: %w", err)
		}
	default:
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
				continue
			}
			name, value, ok := strings.Cut(line, "=")
			if !ok {
				return s, fmt.Errorf("%q is not key=value", line)
			}
			if err := s.set(strings.TrimSpace(name), strings.TrimSpace(value)); err != nil {
				return s, fmt.Errorf("%s: %w", line, err)
			}
		}
	}
	switch s.Role {
	case plan.Primary, plan.Standby, plan.None:
	case "":
		s.Role = plan.None
	default:
		return s, fmt.Errorf("the role %q is not primary, standby or none", s.Role)
	}
	return s, nil
}

func (s *sight) set(name, value string) (err error) {
	flag := func() *bool {
		var b bool
		b, err = strconv.ParseBool(value)
		return &b
	}
	number := func(bits int) (n uint64) {
		n, err = strconv.ParseUint(value, 10, bits)
		return n
	}
	switch name {
	case "running":
		s.Running = flag()
	case "role":
		s.Role = plan.Role(value)
	case "writable":
		s.Writable = flag()
	case "empty":
		s.Empty = *flag()
	case "system_id":
		s.SystemID = value
	case "timeline":
		s.Timeline = uint32(number(32))
	case "position":
		s.Position = number(64)
	case "applied":
		s.Applied = number(64)
	case "upstream":
		s.Upstream = value
	case "streaming":
		s.Streaming = *flag()
	case "standbys":
		s.Standbys, err = parseStandbys(value)
	case "problem":
		s.Problem = value
	default:
		err = errors.New("the keys are running, role, writable, empty, system_id, timeline, position, applied, upstream, streaming, standbys and problem")
	}
	return err
}

func parseStandbys(text string) ([]standby, error) {
	var all []standby
	for _, part := range strings.Split(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		node, at, counted := strings.Cut(part, ":")
		s := standby{Node: node}
		if counted {
			var err error
			if s.Position, err = strconv.ParseUint(at, 10, 64); err != nil {
				return nil, err
			}
		}
		all = append(all, s)
	}
	return all, nil
}
