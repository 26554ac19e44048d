package plan

// Await is a step of the runner: wait, for a bounded time, until the member that is to take over has all that the primary
// had when it stepped down.
const Await Kind = "await"

// RunnerKinds lists the steps that are done on the record rather than on an instance.
var RunnerKinds = []Kind{Hold, Release, Revoke, Elect, Grant, Record, Ask, Await}
