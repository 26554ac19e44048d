package control

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/backstay/backstay/internal/decide/failover"
	"github.com/backstay/backstay/internal/decide/plan"
)

// caring is what is remembered of a node's steps on its own instance.
type caring struct {
	rest   time.Time // not before
	failed int       // steps in a row
	tries  int       // since the instance was last well
	cause  string    // why the last one failed
	wish   string    // that was fulfilled last, which may not be out of the record yet
}

// careRest is the longest rest between steps that fail.
const careRest = 15 * time.Second

// care looks after this node's own instance.
func (u *unit) care(v failover.View) {
	h, c := &u.hands, &u.caring
	if u.engine == nil || u.c.isLeaving() {
		return
	}
	if o := u.observation; h.job == nil && u.observed && o.Running && (o.Streaming || o.Role == plan.Primary) {
		*c = caring{rest: c.rest, wish: c.wish}
	}
	d := u.c.o.judge.care(v)
	if d.Verdict != failover.Act {
		return
	}
	s := d.Plan.Tasks[0].Step
	if j := h.job; j != nil && j.urgency == urgencyCare && j.step.Kind != plan.Clone && (j.step.Epoch != s.Epoch || s.Upstream != "" && j.step.Upstream != s.Upstream) {
		h.cancel() // it may wait for what will not come
	}
	if h.job != nil || h.next != nil || u.now.Before(c.rest) || u.granting {
		return
	}
	wish := ""
	if w := u.state.Wish; w != nil && (d.Rule == failover.CareReinit || d.Rule == failover.CareRestart) {
		if wish = w.ID; wish == c.wish { // the store did not take it
			c.rest = time.Now().Add(u.svc.Heartbeat)
			u.fulfilled(wish)
			return
		}
	}
	if c.failed == 0 {
		u.tell(eventCare, u.c.o.Self, s.String(), d.Evidence, s.Epoch)
	}
	u.use(job{urgency: urgencyCare, step: s, anew: wish != "", after: func(out outcome) {
		c.tries++
		if out.err != nil {
			u.careFailed(s, out.err)
			return
		}
		c.rest, c.failed, c.cause = time.Now().Add(u.svc.Heartbeat), 0, "" // until the effect is seen
		if wish != "" {
			c.wish = wish
			u.fulfilled(wish)
		}
	}})
}

// careFailed rests the longer the more often it comes, and tells of each reason once.
func (u *unit) careFailed(s plan.Step, err error) {
	c := &u.caring
	rest := min(u.svc.Suspicion<<min(c.failed, 10), careRest)
	c.rest = time.Now().Add(rest/2 + rand.N(rest/2+1))
	if errors.Is(err, context.Canceled) { // for something more urgent
		return
	}
	c.failed++
	if cause := fmt.Sprintf("%s failed: %v", s.Kind, err); cause != c.cause {
		c.cause = cause
		u.tell(eventFailed, u.c.o.Self, fmt.Sprintf("%s failed and is tried again", s), err.Error(), s.Epoch)
		u.c.o.Log.Warn("step failed", "service", u.svc.Name, "step", s.String(), "error", err)
	}
}
