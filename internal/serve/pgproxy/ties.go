package pgproxy

import "math/bits"

// ties are what a session has on its server that no other server can be given.
type ties uint16

// What ties a session. Those up to tieStatements end with DISCARD ALL.
const (
	tieListen ties = 1 << iota
	tiePrepare
	tieTemporary
	tieAdvisory
	tieCursor
	tieLoad
	tieSetting
	tieStatements
	tieLogin
	tieReplication
	tieProtocol
)

const discardable = tieStatements<<1 - 1

var tieNames = [...]string{
	"LISTEN", "a statement made by PREPARE", "a temporary table", "an advisory lock", "a cursor WITH HOLD", "LOAD",
	"a setting that cannot be told", "more prepared statements than are kept", "a way to log in that only its client knows",
	"replication", "requests that could not be followed",
}

// String names the first of them.
func (t ties) String() string {
	if t == 0 {
		return "nothing"
	}
	return tieNames[bits.TrailingZeros16(uint16(t))]
}
