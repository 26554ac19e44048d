// Package protect holds what protects services besides their own limits: rates of requests by client or key, and degradation modes.
// It knows neither members nor HTTP.
package protect
