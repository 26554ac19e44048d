package control

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/url"
	"path/filepath"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/decide/failover"
)

// What a Recorder keeps.
const (
	recordBefore = 12               // views before one from which something was decided
	recordEvery  = time.Second      // between views that say the same
	recordQueue  = 512              // views on the way to the disk
	recordBytes  = int64(8) << 20   // of each of a service's two files
	recordRest   = 10 * time.Second // after the disk failed
)

// A Recorder keeps on disk the views from which something other than to hold was decided, and those just before and after:
// `backstay replay` asks the rules again. The loop only hands them over; what the disk is too slow for is left out, and
// counted.
type Recorder struct {
	dir, node, version string
	log                *slog.Logger
	queue              chan failover.Recorded

	mu    sync.Mutex
	rings map[string]*ring
}

// A ring is what was seen of a service lately.
type ring struct {
	before []failover.Recorded // not written yet
	last   failover.Recorded   // written last
	missed int
}

// NewRecorder returns a recorder whose files are in a folder, one and an older one for each service.
func NewRecorder(dir, node, version string, log *slog.Logger) *Recorder {
	return &Recorder{dir: dir, node: node, version: version, log: log, queue: make(chan failover.Recorded, recordQueue), rings: map[string]*ring{}}
}

// File is where a service's views are.
func (r *Recorder) File(service string) string {
	return filepath.Join(r.dir, url.PathEscape(service)+".jsonl")
}

// Add takes in what was decided from a view. It does not wait.
func (r *Recorder) Add(v failover.View, d failover.Decision) {
	now := failover.Recorded{At: v.Now, Node: r.node, Version: r.version, Service: v.Service.Name, View: v.Bare(), Decision: d}
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.rings[now.Service]
	if g == nil {
		g = &ring{}
		r.rings[now.Service] = g
	}
	same := g.last.Decision.Verdict == d.Verdict && g.last.Decision.Rule == d.Rule
	changed := g.last.Service != "" && !same // to hold again is written too: how it ended
	idle := d.Verdict == failover.Hold && !changed
	if idle || same && within(now.At, g.last.At, recordEvery) {
		r.remember(g, now)
		return
	}
	for _, b := range append(g.before, now) {
		b.Missed = g.missed
		select {
		case r.queue <- b:
			g.missed = 0
		default:
			g.missed++
		}
	}
	g.before, g.last = nil, now
}

// within says whether two times are near each other; wall clocks jump.
func within(a, b time.Time, d time.Duration) bool { return a.Sub(b).Abs() < d }

// remember keeps a view for as long as it is one of the last, at most one each heartbeat.
func (r *Recorder) remember(g *ring, now failover.Recorded) {
	if n := len(g.before); n > 0 && within(now.At, g.before[n-1].At, now.View.Service.Heartbeat) {
		return
	}
	g.before = append(g.before, now)
	if len(g.before) > recordBefore {
		g.before = append([]failover.Recorded(nil), g.before[1:]...)
	}
}

// Run writes until ctx ends.
func (r *Recorder) Run(ctx context.Context) error {
	files := map[string]*event.Lines{}
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	var rest time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case v := <-r.queue:
			if time.Now().Before(rest) {
				continue
			}
			f := files[v.Service]
			if f == nil {
				f = &event.Lines{Path: r.File(v.Service), Max: recordBytes}
				files[v.Service] = f
			}
			line, err := json.Marshal(v)
			if err == nil {
				err = f.Append(line)
			}
			if err != nil {
				rest = time.Now().Add(recordRest)
				r.log.Warn("views of a service are not recorded", "service", v.Service, "file", f.Path, "error", err)
			}
		}
	}
}
