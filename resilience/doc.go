// Package resilience keeps calls useful while what they depend on is slow, failing or overloaded.
//
// Each policy is a small type of its own and usable alone. All of them are safe for concurrent use, allocate nothing
// in steady state, start no goroutine per call and take time from the time package only, so that testing/synctest
// drives them.
package resilience
