package failover

import (
	"strings"
	"testing"
)

// A proof must not promise what it does not show.
func TestProofOfAnAsynchronousFailover(t *testing.T) {
	s := State{Last: "a", InLine: []string{"b"}}
	if got := (Proof{Arithmetic: s.arithmetic([]string{"b"})}).String(); strings.Contains(got, "nothing acknowledged is lost") || !strings.Contains(got, "may be lost") {
		t.Error(got)
	}
	s.Sync = Guarantee{Names: []string{"b"}, Quorum: 1}
	if got := (Proof{Arithmetic: s.arithmetic([]string{"b"})}).String(); !strings.Contains(got, "nothing acknowledged is lost") {
		t.Error(got)
	}
}
