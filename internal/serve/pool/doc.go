// Package pool is the members of a service as the data plane sees them: it picks the one that a request goes to, learns from
// how it went, and keeps away from members that are down, drained, ejected or behind an open breaker. It dials nothing,
// probes nothing and reads no configuration file: addresses, health and settings are told to it.
//
// # Who may be picked
//
// A member is eligible when its checks find it up (or there are none, or none has said anything since the start), live
// traffic has not ejected it, it is not draining, its weight is above 0 and its breaker admits calls. When that leaves too few:
//
//   - Checks never take everything down. When fewer than the panic share of a tier is up, and the other tiers cannot carry
//     the load, checks are not believed there and all of its members are used, but for drained ones.
//   - Ejection never takes the last one. At most N−1 of the N members that are otherwise usable are ejected; when the last
//     one goes for another reason, the ejection that would end first is lifted.
//   - Breakers may refuse everything. When all are open, Pick fails at once with ErrNoMember, so that the caller can hold
//     the request or answer with the fallback. A breaker whose rest is over gets the next request as its trial.
//   - Nothing overrides a drain.
//
// # What takes a member out
//
//   - Failures in a row eject it, unless they are answers or timeouts and nobody else does better: then something behind all of
//     them is wrong. The second good probe after the ejection ends it early, as a probe would have met with the failures itself;
//     if they come back soon all the same, probes do not end the next one.
//   - A failure rate ejects it when the pooled traffic of its siblings fails clearly less, and latency when it is far above both its
//     own history and its siblings. No probe ends these early: a few good looks say little against twenty requests.
//   - Each ejection lasts twice as long as the one before, with jitter; twice its length without another makes up for one.
//   - A breaker that closes, an ejection that ends, a member that comes up, joins or is taken back: all begin with a tenth of
//     their share and grow to all of it over the slow start. What was begun before that is not held against them.
//   - One that hangs is avoided by p2c before anything is decided about it: see load.
//
// Pick takes no lock and allocates nothing: it reads an immutable view, which is built anew whenever eligibility changes.
package pool
