package api

import "fmt"

// Kind says what sort of error it is; programs may rely on it.
type Kind string

// Kinds of errors.
const (
	NotFound    Kind = "not-found"   // there is nothing of that name
	Ambiguous   Kind = "ambiguous"   // there are several
	Refused     Kind = "refused"     // it cannot be done now, or not with this configuration
	Invalid     Kind = "invalid"     // the request makes no sense
	Unreachable Kind = "unreachable" // no node answers
	Internal    Kind = "internal"    // the node failed to do it
)

// Error is what goes wrong between a person and a node.
type Error struct {
	Kind    Kind
	Message string   // what happened, to what, what to do next
	Details []string // one line for each of several problems
}

// Errorf makes an Error.
func Errorf(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string {
	s := e.Message
	for _, d := range e.Details {
		s += "\n" + d
	}
	return s
}

// Is makes errors.Is(err, &Error{Kind: k}) say whether err is of that kind.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind && (t.Message == "" || t.Message == e.Message)
}
