package tcpproxy

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/reach"
	"github.com/backstay/backstay/internal/serve/transport"
)

// looks is how often a session is looked at within its idle timeout.
const looks = 4

// relay is a session that has reached its member.
type relay struct {
	client, member net.Conn // the sockets
	up, down       flow     // from the client, and to it
	ended          chan *flow
	first          atomic.Bool // the member has answered
}

func newRelay(v *session, m *pool.Member, side memberSide) *relay {
	r := &relay{client: v.socket, member: side.socket, ended: make(chan *flow, 2)}
	r.up = flow{server: v.server, src: v.client, dst: side.stream, head: v.head}
	r.down = flow{server: v.server, src: side.stream, dst: v.client}
	r.down.first = func() {
		r.first.Store(true)
		m.Answered(v.search.Took)
	}
	return r
}

func (r *relay) answered() bool { return r.first.Load() }

// run moves bytes until both sides have ended, or one breaks off, or the member is gone, or ctx is done, or nothing has
// moved for idle.
func (r *relay) run(ctx context.Context, gone <-chan struct{}, idle time.Duration) ending {
	for _, f := range []*flow{&r.up, &r.down} {
		go func() {
			f.run()
			r.ended <- f
		}()
	}
	end := r.watch(ctx, gone, idle)
	end.in, end.out = r.up.moved.Load(), r.down.moved.Load()
	return end
}

func (r *relay) watch(ctx context.Context, gone <-chan struct{}, idle time.Duration) (end ending) {
	var tick <-chan time.Time
	if idle > 0 {
		t := time.NewTicker(max(idle/looks, time.Millisecond))
		defer t.Stop()
		tick = t.C
	}
	silent, last := 0, r.pulse()
	for open := 2; open > 0; {
		select {
		case f := <-r.ended:
			open--
			if r.broke(f, &end) {
				r.abort(open)
				return end
			}
		case <-gone:
			end.how, end.note = telemetry.EndedCut, "the member is gone"
			r.abort(open)
			return end
		case <-ctx.Done():
			end.how, end.note = telemetry.EndedCut, "the node takes its leave"
			r.abort(open)
			return end
		case <-tick:
			if now := r.pulse(); now != last {
				silent, last = 0, now
			} else if silent++; silent >= looks {
				end.how, end.note = telemetry.EndedIdle, "idle for "+idle.String()
				r.abort(open)
				return end
			}
		}
	}
	r.close(&end)
	return end
}

func (r *relay) pulse() int64 { return r.up.pulse.Load() + r.down.pulse.Load() }

// broke notes how a direction ended, and says whether that ends the session at once. A side that no longer takes
// bytes may have sent some before: those still go where they belong, until the other direction has ended too.
func (r *relay) broke(f *flow, end *ending) bool {
	if f.err == nil {
		return false
	}
	reason := transport.Reason(f.err)
	fromMember := (f == &r.down) != f.dstBroke // whose socket it was
	if fromMember {
		end.memberBroke = true
	} else {
		end.clientBroke = true
	}
	if end.note == "" {
		side := "client"
		if fromMember {
			side = "member"
		}
		end.how, end.note = telemetry.EndedReset, side+": "+reason
	}
	return !f.dstBroke
}

// close ends both connections in an orderly way; where one broke off, the other's client still gets what was sent.
func (r *relay) close(end *ending) {
	if end.clientBroke {
		reach.Reset(r.member)
	}
	r.up.src.Close() // says goodbye in TLS where it is spoken
	r.down.src.Close()
	r.client.Close()
	r.member.Close()
}

// abort resets both sides and waits for the directions still open.
func (r *relay) abort(open int) {
	reach.Reset(r.client)
	reach.Reset(r.member)
	for ; open > 0; open-- {
		<-r.ended
	}
}
