// Package telemetry is what a node tells about its traffic: Prometheus metrics, the JSON access log, W3C trace
// context with OpenTelemetry spans, and request ids.
//
// It is written for the hot path. Handles (Listener, Route, Service, Member, Sessions) are asked for once, when a
// snapshot is built; counting a finished request through them is a few atomic adds: no allocation, no lock, no map.
// A nil handle is safe to use and counts nothing. Asking twice for the same labels gives the same handle, so that
// counters go on across a reload.
//
// Labels are bounded: names come from the configuration only, codes and reasons from the fixed sets in this package.
//
// The package judges nothing and keeps nothing for people to read later; that is the event log's work.
package telemetry
