// Package demo shows Backstay at work on one machine: sample members as processes of their own, a node in front of
// them, steady traffic, and faults that happen in turn. It measures as a client would, from outside, and ends with a
// verdict. It talks to the node only through its listeners and its admin socket.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/backstay/backstay/internal/operate/api"
)

// Options configures a demonstration.
type Options struct {
	Keep   bool          // stay up after the verdict, until ctx ends
	Plain  bool          // lines instead of a live view, as without a terminal
	Length time.Duration // of the demonstration; a minute when 0, at least 20s
	Listen string        // where clients connect; a free port of 127.0.0.1 when empty
	Out    io.Writer
}

// Run runs the demonstration. It returns after the verdict, early when ctx ends; the error says what did not hold.
func Run(ctx context.Context, o Options) error {
	if memberSpec() != "" { // this process is one of the sample members
		return serveMember(ctx)
	}
	if o.Length == 0 {
		o.Length = time.Minute
	}
	if o.Length < 20*time.Second {
		return fmt.Errorf("a demonstration of %s is too short to break and mend three members: use at least 20s", o.Length)
	}
	st, err := newStage(o.Listen)
	if err != nil {
		return err
	}
	defer st.Close()
	if err := st.Start(ctx); err != nil {
		return err
	}
	sh := newShow(st, o)
	err = sh.run(ctx)
	if o.Keep && ctx.Err() == nil {
		fmt.Fprintf(o.Out, "\nIt stays up (^C ends it). Try:\n  curl %s/\n  %s status --watch --socket %s\n  %s drain web-1 --socket %s\nThe configuration is %s.\n",
			st.url, st.program, st.socket, st.program, st.socket, st.config)
		<-ctx.Done()
	}
	return err
}

// show is one demonstration while it runs.
type show struct {
	stage  *stage
	client *api.Client
	script []scene
	length time.Duration
	view   view
	out    io.Writer
	web    *traffic
	recs   *traffic
	buyers *traffic // critical
	scouts *traffic // sheddable
	watch  *watcher
	began  time.Time

	avoided []avoidance // in each scene
}

func newShow(st *stage, o Options) *show {
	scenes := script(o.Length)
	return &show{
		stage: st, client: api.Dial(st.socket), script: scenes, avoided: make([]avoidance, len(scenes)), length: o.Length, out: o.Out,
		view: newView(o.Out, o.Plain),
		web:  newTraffic(st.url+"/", 8, 400), recs: newTraffic(st.url+"/recommendations", 2, 40),
		buyers: newTraffic(st.url+"/checkout", 8, 40), scouts: newTraffic(st.url+"/prefetch", 4, 20).sheddable(),
	}
}

// run plays the script while traffic flows, and prints the verdict.
func (s *show) run(ctx context.Context) error {
	playing, stop := context.WithTimeout(ctx, s.length)
	defer stop()
	s.began = time.Now()
	s.watch = watch(playing, s.client)
	s.web.start(playing)
	s.recs.start(playing)
	s.buyers.start(playing)
	s.scouts.start(playing)
	done := make(chan error, 1)
	go func() { done <- s.play(playing) }()

	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var problem error
	for running := true; running; {
		select {
		case <-tick.C:
			s.draw(playing)
		case problem = <-done:
			if problem != nil {
				stop()
			}
			done = nil
		case <-s.stage.ended:
			problem = fmt.Errorf("the node's process ended by itself; it said:\n%s", s.stage.said())
			running = false
			stop()
		case <-playing.Done():
			running = false
		}
	}
	s.web.wait()
	s.recs.wait()
	s.buyers.wait()
	s.scouts.wait()
	s.stage.surge.stop()
	s.view.close()
	v := s.verdict(ctx.Err() != nil)
	fmt.Fprint(s.out, v)
	return errors.Join(problem, v.err())
}

// play lets each scene begin and end at its time.
func (s *show) play(ctx context.Context) error {
	for i := range s.script {
		sc := &s.script[i]
		if !sleepUntil(ctx, s.began.Add(sc.at)) {
			return nil
		}
		sc.begun = time.Now()
		if err := sc.begin(s.stage); err != nil {
			return fmt.Errorf("%s: %w", sc.title, err)
		}
		s.view.say(fmt.Sprintf("%s %s", clock(time.Since(s.began)), sc.title))
		if !sleepUntil(ctx, s.began.Add(sc.until)) {
			return sc.end(s.stage)
		}
		sc.ended = time.Now()
		if err := sc.end(s.stage); err != nil {
			return fmt.Errorf("end of %s: %w", sc.title, err)
		}
		s.view.say(fmt.Sprintf("%s %s", clock(time.Since(s.began)), sc.over))
	}
	return nil
}

func (s *show) draw(ctx context.Context) {
	status, err := s.client.Status(ctx)
	if err != nil && ctx.Err() != nil {
		return
	}
	for i := range s.script {
		s.avoided[i].look(&s.script[i], s.began, time.Now(), &status)
	}
	s.view.draw(picture{
		elapsed: time.Since(s.began), length: s.length, url: s.stage.url, status: status, err: err,
		web: s.web.second(), recs: s.recs.second(), buyers: s.buyers.second(), scouts: plus(s.scouts.second(), s.stage.surge.traffic.second()), events: s.watch.last(6), now: s.current(),
	})
}

// current is the scene that is on.
func (s *show) current() string {
	t := time.Since(s.began)
	for _, sc := range s.script {
		if t >= sc.at && t < sc.until {
			return sc.title
		}
	}
	return "all is well"
}

func sleepUntil(ctx context.Context, t time.Time) bool {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// clock writes a time since the beginning as minutes and seconds.
func clock(d time.Duration) string {
	return fmt.Sprintf("%02d:%02d", int(d.Minutes()), int(d.Seconds())%60)
}
