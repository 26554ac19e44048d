package control

import (
	"testing"
	"time"
)

// A primary whose clients wait acts as one: it has to be guarded until it has stepped down.
func TestAHeldPrimaryReigns(t *testing.T) {
	now := time.Now()
	r := Route{Service: "db", Primary: "a", Hold: true, Until: now.Add(time.Second)}
	if !r.Reigns("a", now) || r.Valid(now) {
		t.Error("it does not reign while its clients are held")
	}
	if r.Reigns("b", now) || r.Reigns("a", r.Until) || (Route{Until: r.Until}).Reigns("a", now) {
		t.Error("who is no primary, or not any more, reigns")
	}
}
