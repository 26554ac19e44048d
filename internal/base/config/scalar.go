package config

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// plain reads a scalar into v and holds it against the field's enum and bounds.
func (d *decoder) plain(n *node, p path, f field, v reflect.Value) {
	switch {
	case n.shape == empty:
		d.wrong(n, p, "this has no value", "give it "+article(f.typ)+", or take the key out")
		return
	case n.shape == mapping && (n.find("env") != nil || n.find("file") != nil):
		d.wrong(n, p, "this key takes no secret", "write "+article(f.typ)+"; {env: …} and {file: …} are for keys of type secret")
		return
	case !n.scalar():
		d.wrong(n, p, fmt.Sprintf("this must be %s, not %s", article(f.typ), described(n)), "")
		return
	}
	if message, hint := convert(n, v); message != "" {
		d.wrong(n, p, message, hint)
		return
	}
	if f.required && v.Kind() == reflect.String && v.String() == "" {
		d.wrong(n, p, "this is empty", "give it "+article(f.typ))
		return
	}
	if message, hint := f.check(v); message != "" {
		d.wrong(n, p, message, hint)
	}
}

// convert sets v to what n says, or tells why it cannot.
func convert(n *node, v reflect.Value) (message, hint string) {
	mismatch := fmt.Sprintf("this must be %s, not %s", article(v.Type()), described(n))
	switch v.Type() {
	case durationType, sizeType, percentType:
		if n.shape == truth {
			return mismatch, ""
		}
		if err := assign(v, n.text); err != nil {
			message, hint, _ = strings.Cut(err.Error(), ": ")
			return message, hint
		}
		return "", ""
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.text)
	case reflect.Bool:
		if n.shape != truth {
			if slices.Contains([]string{"yes", "on", "y", "Yes", "On", "YES", "ON"}, n.text) {
				return mismatch, "write true"
			}
			if slices.Contains([]string{"no", "off", "n", "No", "Off", "NO", "OFF"}, n.text) {
				return mismatch, "write false"
			}
			return mismatch, ""
		}
		v.SetBool(strings.EqualFold(n.text, "true"))
	case reflect.Int:
		return convertInt(n, v, mismatch)
	case reflect.Float64:
		return convertFloat(n, v, mismatch)
	}
	return "", ""
}

func convertInt(n *node, v reflect.Value, mismatch string) (message, hint string) {
	switch number := n.number.(type) {
	case int64:
		v.SetInt(number)
	case uint64:
		if number > math.MaxInt64 {
			return n.text + " is too large", ""
		}
		v.SetInt(int64(number))
	default:
		switch _, err := strconv.Atoi(n.text); {
		case err == nil:
			return mismatch, "write it without quotes"
		case errors.Is(err, strconv.ErrRange):
			return n.text + " is too large", ""
		}
		return mismatch, ""
	}
	return "", ""
}

func convertFloat(n *node, v reflect.Value, mismatch string) (message, hint string) {
	switch number := n.number.(type) {
	case int64:
		v.SetFloat(float64(number))
	case uint64:
		v.SetFloat(float64(number))
	case float64:
		if math.IsInf(number, 0) || math.IsNaN(number) {
			return mismatch, ""
		}
		v.SetFloat(number)
	default:
		return mismatch, ""
	}
	return "", ""
}

// assign sets v from text as it stands in a default, a bound or, for durations, sizes and percentages, in the file.
func assign(v reflect.Value, text string) error {
	switch target := v.Addr().Interface().(type) {
	case *Duration:
		return target.UnmarshalText([]byte(text))
	case *Size:
		return target.UnmarshalText([]byte(text))
	case *Percent:
		return target.UnmarshalText([]byte(text))
	case *string:
		*target = text
	case *[]string:
		*target = strings.Split(text, ",")
	case *bool:
		*target = text == "true"
	case *int:
		n, err := strconv.Atoi(text)
		*target = n
		return err
	case *float64:
		n, err := strconv.ParseFloat(text, 64)
		*target = n
		return err
	default:
		return fmt.Errorf("%s takes no default", v.Type())
	}
	return nil
}

// check holds a value that the file gives against the field's enum and bounds.
func (f field) check(v reflect.Value) (message, hint string) {
	if len(f.enum) > 0 {
		value := fmt.Sprint(v.Interface())
		if slices.Contains(f.enum, value) {
			return "", ""
		}
		options := slices.DeleteFunc(slices.Clone(f.enum), func(s string) bool { return s == "" })
		hint = "it takes " + alternatives(options)
		if near := closest(strings.ToLower(value), options); near != "" && v.Kind() == reflect.String {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		return fmt.Sprintf("%q is not one of %s", value, strings.Join(options, ", ")), hint
	}
	if f.min != "" && magnitude(v) < bound(f.typ, f.min) {
		return fmt.Sprintf("%v is less than %s", v.Interface(), f.unit(f.min)), "it takes " + f.bounds()
	}
	if f.max != "" && magnitude(v) > bound(f.typ, f.max) {
		return fmt.Sprintf("%v is more than %s", v.Interface(), f.unit(f.max)), "it takes " + f.bounds()
	}
	return "", ""
}

// bounds says what range the field takes, for people.
func (f field) bounds() string {
	switch {
	case f.min != "" && f.max != "":
		return f.unit(f.min) + " to " + f.unit(f.max)
	case f.min != "":
		return f.unit(f.min) + " or more"
	case f.max != "":
		return "at most " + f.unit(f.max)
	}
	return ""
}

func (f field) unit(bound string) string {
	if f.typ == percentType {
		return bound + "%"
	}
	return bound
}

func magnitude(v reflect.Value) float64 {
	if v.CanFloat() {
		return v.Float()
	}
	return float64(v.Int())
}

// bound reads a min or max tag of a field of type t.
func bound(t reflect.Type, tag string) float64 {
	v := reflect.New(t).Elem()
	if err := assign(v, tag); err != nil {
		panic(fmt.Sprintf("config: the bound %s: %v", tag, err))
	}
	return magnitude(v)
}
