package failover

// Kinds of notes, and of the records on the event log that are made of them. Programs may rely on them.
const (
	NoteHold    = "failover.hold"    // clients wait
	NoteRevoked = "failover.revoked" // an epoch is over
	NoteElected = "failover.elected" // a member is to be promoted
	NoteGranted = "failover.granted" // a member is the primary
	NoteSync    = "failover.sync"    // another set is to confirm writes
	NoteSettled = "failover.settled" // older sets are not needed any more
)

// A Note is what a runner is about to do, for the event log.
type Note struct {
	Kind, Member, Text, Evidence string
}
