package event

import (
	"fmt"
	"math"
	"reflect"
	"time"
)

const (
	maxText   = 2048 // bytes of a message, an evidence, a value
	maxName   = 256  // bytes of a name or a key
	maxFields = 32
)

// bounded returns the record with every part cut to its limit, sharing no map with the caller, and with values that
// can always be written as JSON.
func bounded(r Record) Record {
	r.Kind, r.Service, r.Member, r.Node = cut(r.Kind, maxName), cut(r.Service, maxName), cut(r.Member, maxName), cut(r.Node, maxName)
	r.Message, r.Evidence = cut(r.Message, maxText), cut(r.Evidence, maxText)
	if r.Fields == nil {
		return r
	}
	fields := make(map[string]any, min(len(r.Fields), maxFields))
	for k, v := range r.Fields {
		if len(fields) == maxFields {
			break
		}
		fields[cut(k, maxName)] = plain(v)
	}
	r.Fields = fields
	return r
}

// plain turns a value into a string, a number or a boolean.
func plain(v any) any {
	switch v := v.(type) {
	case nil, bool:
		return v
	case string:
		return cut(v, maxText)
	case error:
		return cut(v.Error(), maxText)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case fmt.Stringer:
		return cut(v.String(), maxText)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprint(v)
		}
		return v
	}
	if k := reflect.TypeOf(v).Kind(); k >= reflect.Int && k <= reflect.Uint64 {
		return v
	}
	return cut(fmt.Sprint(v), maxText)
}

// cut shortens s to at most n bytes, at the end of a character, and says so.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	end := 0
	for i := range s {
		if i > n-len("…") {
			break
		}
		end = i
	}
	return s[:end] + "…"
}
