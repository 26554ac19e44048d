package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"reflect"

	"github.com/backstay/backstay/internal/base/event"
)

const (
	eventsType  = "application/x-ndjson"
	problemType = "application/problem+json"
)

var recordType = reflect.TypeFor[event.Record]()

// problem is an Error on the wire: RFC 9457, as huma's own errors are, with a kind.
type problem struct {
	Title  string   `json:"title"`
	Status int      `json:"status"`
	Detail string   `json:"detail"`
	Kind   Kind     `json:"kind,omitempty"`
	Errors []detail `json:"errors,omitempty"`
}

type detail struct {
	Message  string `json:"message"`
	Location string `json:"location,omitempty"`
}

// statusOf says which HTTP status tells of which kind of error.
var statusOf = map[Kind]int{
	NotFound:  http.StatusNotFound,
	Ambiguous: http.StatusConflict,
	Refused:   http.StatusUnprocessableEntity,
	Invalid:   http.StatusBadRequest,
	Internal:  http.StatusInternalServerError,
}

// problemOf turns an error of System into what goes over the wire; nil stays nil.
func problemOf(err error) error {
	if err == nil {
		return nil
	}
	e := &Error{Kind: Internal, Message: err.Error()}
	_ = errors.As(err, &e)
	status, ok := statusOf[e.Kind]
	if !ok {
		status = http.StatusInternalServerError
	}
	p := &problem{Title: http.StatusText(status), Status: status, Detail: e.Message, Kind: e.Kind}
	for _, d := range e.Details {
		p.Errors = append(p.Errors, detail{Message: d})
	}
	return p
}

// Error implements error.
func (p *problem) Error() string { return p.Detail }

// GetStatus implements huma.StatusError.
func (p *problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p *problem) ContentType(string) string { return problemType }

// errorOf reads a problem back.
func errorOf(status int, body []byte) *Error {
	var p problem
	if json.Unmarshal(body, &p) != nil || p.Detail == "" {
		return Errorf(Internal, "the node answered %d %s: see its log", status, http.StatusText(status))
	}
	e := &Error{Kind: p.Kind, Message: p.Detail}
	if e.Kind == "" { // refused by huma before it came to us
		e.Kind = Invalid
	}
	for _, d := range p.Errors {
		if d.Location != "" {
			d.Message = d.Location + ": " + d.Message
		}
		e.Details = append(e.Details, d.Message)
	}
	return e
}
