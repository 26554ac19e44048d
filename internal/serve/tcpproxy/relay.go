package tcpproxy

import (
	"context"
	"encoding/binary"
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
	kept           []byte      // what the client has said so far; of up's goroutine until that has ended
	keeps          bool        // kept is all of it
}

// maxKept bounds what is kept of a client for another member.
const maxKept = 16 << 10

func newRelay(v *session, m *pool.Member, side memberSide) *relay {
	r := &relay{client: v.socket, member: side.socket, ended: make(chan *flow, 2)}
	r.up = flow{server: v.server, src: v.client, dst: side.stream, head: v.head}
	r.down = flow{server: v.server, src: side.stream, dst: v.client}
	r.down.first = func() {
		r.first.Store(true)
		m.Answered(v.search.Took)
	}
	if v.replays() {
		r.keeps = true
		r.up.keep = r.keep
	}
	return r
}

// keep remembers what the client says until it is answered.
func (r *relay) keep(b []byte) {
	if !r.keeps {
		return
	}
	if r.keeps = !r.answered() && len(r.kept)+len(b) <= maxKept; !r.keeps {
		r.kept = nil
		return
	}
	r.kept = append(r.kept, b...)
	// A client that is sure to be let in may send a request right behind its first packet, whose length comes first. The server may have done it
	// although nobody heard so.
	if len(r.kept) >= 4 && int64(len(r.kept)) > int64(binary.BigEndian.Uint32(r.kept)) {
		r.keeps, r.kept = false, nil
	}
}

// release lets go of a member that has not answered, and leaves the client as it was. It says whether what the client has said can be said
// to another: all of it is kept, and more may come. open is how many directions still are.
func (r *relay) release(open *int, upEnded bool) bool {
	if r.up.keep == nil || r.answered() || upEnded && !r.up.dstBroke {
		return false
	}
	reach.Reset(r.member)
	_ = r.client.SetReadDeadline(time.Unix(1, 0)) // wakes up; it fails only on a closed connection, as the next read does then
	for ; *open > 0; *open-- {
		<-r.ended
	}
	_ = r.client.SetReadDeadline(time.Time{})
	return r.keeps && !r.answered() && (r.up.dstBroke || transport.Reason(r.up.err) == "timeout")
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
	upEnded := false
	for open := 2; open > 0; {
		select {
		case f := <-r.ended:
			open--
			upEnded = upEnded || f == &r.up
			if r.ofMember(f) && r.release(&open, upEnded) {
				end.again = true
				return end
			}
			if r.broke(f, &end) {
				r.abort(open)
				return end
			}
		case <-gone:
			if r.release(&open, upEnded) {
				end.again = true
				return end
			}
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
	fromMember := r.ofMember(f)
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

// ofMember says whether what broke a direction was the member's socket.
func (r *relay) ofMember(f *flow) bool { return f.err != nil && (f == &r.down) != f.dstBroke }

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
