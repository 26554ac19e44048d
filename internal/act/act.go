// Package act holds what all engines have in common: the errors with which they refuse a step. An engine observes and
// changes the one instance of a service that runs on its own node; it knows no rules and judges nothing. What a step
// has to do is said in the text of each error and tested by conformance.
package act

import "errors"

// Errors of an engine; compare with errors.Is.
var (
	// ErrStale says that the step is of an older epoch than the instance has persisted. Nothing was done.
	ErrStale = errors.New("the step is of an older epoch than the instance has persisted")
	// ErrNotFenced says that Promote was asked of an instance that is not fenced at the step's epoch, or Start of a
	// primary whose epoch is over. Nothing was done.
	ErrNotFenced = errors.New("the instance is not fenced at the step's epoch")
	// ErrNotEmpty says that Create was asked where there is data that belongs to an earlier epoch. Nothing was done.
	ErrNotEmpty = errors.New("the instance has data already")
	// ErrDiverged says that the instance has history that its upstream does not have: it has to be rewound or cloned.
	ErrDiverged = errors.New("the instance has history that its upstream does not have")
	// ErrForeign says that the upstream's data is of another origin: one must never follow the other.
	ErrForeign = errors.New("the upstream's data is of another origin")
	// ErrNotRunning says that the step needs a running instance.
	ErrNotRunning = errors.New("the instance does not run")
	// ErrRole says that the step is not for an instance of this role, such as SetSync on a standby.
	ErrRole = errors.New("the step is not for an instance of this role")
	// ErrUnsupported says that the engine cannot promise what is asked, such as acknowledgements that wait for standbys where
	// replication is asynchronous. Nothing was done.
	ErrUnsupported = errors.New("the engine cannot promise this")
	// ErrUnknown says that the engine does not know the step.
	ErrUnknown = errors.New("the engine does not know this step")
)
