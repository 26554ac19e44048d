// Package sim puts the resilience library under load in simulated time: open-loop clients, servers with queues and random service
// times, networks with delays, and scripts of what goes wrong. Run it inside a testing/synctest bubble, where minutes take
// milliseconds.
//
// The same seed gives the same result. So that it does not matter in which order goroutines run that are awake at the same
// moment, each try of each request draws from a generator of its own (Request.Try), and network delays keep moments apart.
//
// Its tests are the scenarios: each is judged by assertions and shown in docs/resilience.md, which `make sim` writes anew.
package sim
