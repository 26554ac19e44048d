// Package failover judges: from a View, everything that may be looked at, it says what should be done about a service
// with one primary, and which rule said so. It is pure: no I/O, no goroutine, no clock, no logger; the time arrives in
// the view. It knows no engine: what it orders are steps of package plan.
//
// There are three judgements, each of its own kind. Decide is the table of rules that begins plans. Advance carries a
// plan on: it takes in what the nodes report of their tasks and does the steps that are nobody's but the record's.
// Care says what a node should do about its own instance while no plan is concerned. DESIGN.md says why no
// acknowledged write is lost.
package failover
