package pgproxy

import (
	"slices"
	"strings"
)

// Bounds of the settings that a session keeps.
const (
	maxSettings    = 64
	maxSettingText = 1 << 10
)

// settings are the statements by which a session was set up, as they are to be said again to another server.
type settings struct {
	kept []setting
	open []setting // of the transaction that is under way
	torn bool      // some of open were taken back by a savepoint
}

type setting struct{ name, text string }

// settingOf reads what a SET or RESET is about. It says false for what ends with its transaction. What is more than one plain statement, or
// sets more than one thing, is about itself: it neither replaces another nor is replaced.
func settingOf(text string) (setting, bool) {
	text = strings.TrimRight(strings.TrimSpace(text), "; \t\r\n")
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == '\r' || r == '=' })
	if len(words) < 2 || words[0] != "set" && words[0] != "reset" || strings.Contains(text, ";") {
		return setting{name: text, text: text}, true
	}
	verb, rest := words[0], words[1:]
	if verb == "set" && rest[0] == "session" && len(rest) > 1 && rest[1] != "characteristics" && rest[1] != "authorization" {
		rest = rest[1:]
	}
	switch {
	case verb == "set" && (rest[0] == "local" || rest[0] == "transaction" || rest[0] == "constraints"):
		return setting{}, false
	case verb == "reset" && rest[0] == "all":
		return setting{name: "all", text: text}, true
	case rest[0] == "session" && len(rest) > 1 && rest[1] == "characteristics": // isolation, read only and deferrable are set apart
		return setting{name: text, text: text}, true
	case rest[0] == "session_authorization":
		return setting{name: "session authorization", text: text}, true
	case rest[0] == "session" && len(rest) > 1:
		return setting{name: "session " + rest[1], text: text}, true
	case rest[0] == "time" && len(rest) > 1 && rest[1] == "zone":
		return setting{name: "timezone", text: text}, true
	case rest[0] == "names":
		return setting{name: "client_encoding", text: text}, true
	}
	return setting{name: strings.Trim(rest[0], `"`), text: text}, true
}

// wait takes in settings of a transaction that is not over; true where they are too many. undone says that a savepoint was gone back to.
func (s *settings) wait(texts []string, undone bool) (lost bool) {
	s.torn = s.torn || undone && len(s.open) > 0
	for _, text := range texts {
		if one, ok := settingOf(text); ok {
			s.open = append(s.open, one)
		}
	}
	return len(s.open) > maxSettings
}

// drop forgets those of a transaction that was rolled back.
func (s *settings) drop() { s.open, s.torn = s.open[:0], false }

// apply keeps what was waiting, and more; true where not all can be kept.
func (s *settings) apply(texts []string) (lost bool) {
	lost = s.torn || s.wait(texts, false)
	for _, one := range s.open {
		s.keep(one)
	}
	s.drop()
	return lost || len(s.kept) > maxSettings
}

func (s *settings) keep(one setting) {
	if one.name == "all" {
		s.kept = slices.DeleteFunc(s.kept, func(o setting) bool { return !o.stays() && o.name != o.text })
		if slices.ContainsFunc(s.kept, func(o setting) bool { return o.name == o.text }) {
			s.kept = append(s.kept, one)
		}
		return
	}
	s.kept = slices.DeleteFunc(s.kept, func(o setting) bool { return o.name == one.name })
	several := slices.ContainsFunc(s.kept, func(o setting) bool { return o.name == o.text })
	if several || one.name == one.text || one.stays() || !strings.EqualFold(one.text[:min(5, len(one.text))], "reset") {
		s.kept = append(s.kept, one)
	}
}

// stays says of a setting that RESET ALL does not touch it.
func (one setting) stays() bool { return one.name == "role" || one.name == "session authorization" }
