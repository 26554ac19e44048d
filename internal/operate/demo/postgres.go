package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"time"
)

// PostgresLength is how long the demonstration with PostgreSQL takes unless told otherwise, beside its start and its end.
const PostgresLength = 75 * time.Second

const shortestPostgres = 45 * time.Second

// RunPostgres shows three nodes that keep PostgreSQL up while its primary is moved and killed in all ways, and writes flow.
// It returns after the verdict, early when ctx ends; the error says what did not hold. Listen is not used.
// Besides the nodes it asks the instances themselves, so that what they are does not depend on what Backstay thinks of them.
func RunPostgres(ctx context.Context, o Options) error {
	if dir := broomDir(); dir != "" { // this process cleans up after another
		return serveBroom(ctx, dir, os.Stdin)
	}
	if o.Length == 0 {
		o.Length = PostgresLength
	}
	if o.Length < shortestPostgres {
		return fmt.Errorf("a demonstration of %s is too short to break and mend three nodes: use at least %s", o.Length, shortestPostgres)
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	return showPostgres(ctx, o, program, postgresScript(o.Length), wholeWithin)
}

// showPostgres plays a script on a stage of its own, and leaves nothing behind. Its patience is how long it waits for
// redundancy to be whole again.
func showPostgres(ctx context.Context, o Options, program string, script []*postgresScene, patience time.Duration) (err error) {
	st, err := newPostgresStage(program)
	if err != nil {
		return err
	}
	s := &postgresShow{stage: st, script: script, length: o.Length, patience: patience, out: o.Out, view: newPostgresView(o.Out, o.Plain)}
	defer func() {
		fmt.Fprintln(o.Out, "The nodes leave …")
		primary := ""
		if s.observer != nil {
			primary = s.observer.primary()
		}
		s.stop()
		st.Close(primary)
	}()
	fmt.Fprintf(o.Out, "Three nodes on %s, %s and %s, each with a PostgreSQL (%s):\n", st.nodes[0].address, st.nodes[1].address, st.nodes[2].address, st.dir)
	if err := s.prepare(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // told to end before it began
		}
		return err
	}
	err = s.run(ctx)
	if o.Keep && ctx.Err() == nil {
		s.invite()
		<-ctx.Done()
	}
	return err
}

// postgresShow is one demonstration with PostgreSQL while it runs.
type postgresShow struct {
	stage    *postgresStage
	script   []*postgresScene
	length   time.Duration
	patience time.Duration
	view     postgresView
	out      io.Writer
	writers  *writers
	observer *observer
	watch    *watcher
	began    time.Time
	last     tally              // as drawn last
	stopAll  context.CancelFunc // of the observer and the watcher

	mu sync.Mutex // above the scenes' own times
}

// prepare starts the nodes and waits until PostgreSQL is redundant.
func (s *postgresShow) prepare(ctx context.Context) error {
	began := time.Now()
	step := func(text string) {
		fmt.Fprintf(s.out, "  %5.1fs  %s\n", time.Since(began).Seconds(), text)
	}
	if err := s.stage.Start(ctx); err != nil {
		return err
	}
	step("the nodes run: one by `backstay init`, two by `backstay cluster invite` and `join`")
	password, err := s.awaitPassword(ctx)
	if err != nil {
		return err
	}
	var addresses []string
	for _, n := range s.stage.nodes {
		addresses = append(addresses, n.listen)
	}
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stopAll = stop
	s.observer = observe(watching, s.stage.nodes, password)
	s.watch = followAll(watching, s.stage.nodes)
	if !s.observer.awaitWhole(ctx, time.Now().Add(max(s.patience, 90*time.Second))) {
		return errors.Join(ctx.Err(), fmt.Errorf("PostgreSQL was not redundant; n1 said:\n%s", s.stage.nodes[0].said()))
	}
	step(s.observer.primary() + " is the primary, both standbys stream and count for acknowledgement")
	s.writers = newWriters(addresses, password)
	if err := s.writers.prepare(ctx); err != nil {
		return fmt.Errorf("make the table of writes: %w", err)
	}
	step(fmt.Sprintf("%d clients write through the nodes' listeners (%s), one row per commit\n", writersPerNode*len(addresses), strings.Join(addresses, ", ")))
	return nil
}

// awaitPassword waits until the nodes have agreed on the superuser's password.
func (s *postgresShow) awaitPassword(ctx context.Context) (password string, err error) {
	for deadline := time.Now().Add(max(s.patience, 30*time.Second)); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		if password, err = s.stage.password(); err == nil && password != "" {
			return password, nil
		}
	}
	return "", errors.Join(ctx.Err(), err)
}

// run plays the script while the writers write, reads everything back, and prints the verdict.
func (s *postgresShow) run(ctx context.Context) error {
	playing, stop := context.WithCancel(ctx)
	defer stop()
	s.began = time.Now()
	s.writers.start(playing)
	done := make(chan error, 1)
	go func() { done <- s.play(playing) }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var problem error
	for running := true; running; {
		select {
		case <-tick.C:
			s.draw()
		case problem = <-done:
			running = false
		}
	}
	end := time.Now()
	stop()
	s.writers.wait()
	s.view.close()
	v := s.verdict(context.WithoutCancel(ctx), end)
	v.cut = ctx.Err() != nil
	fmt.Fprint(s.out, v)
	return errors.Join(problem, v.err())
}

// stop ends what looks on.
func (s *postgresShow) stop() {
	if s.stopAll != nil {
		s.stopAll()
	}
}

func (s *postgresShow) say(text string) {
	s.view.say(fmt.Sprintf("%s %s", clock(time.Since(s.began)), text))
}

// change changes a scene that the view may be reading.
func (s *postgresShow) change(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// current is the scene that is on.
func (s *postgresShow) current() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sc := range s.script {
		if !sc.begun.IsZero() && (sc.mended.IsZero() || time.Since(sc.mended) < 3*time.Second) {
			return sc.happened()
		}
	}
	return "all is well"
}

// verdict reads all rows back and compares.
func (s *postgresShow) verdict(ctx context.Context, end time.Time) postgresVerdict {
	acks, unknowns := s.writers.records()
	v := postgresVerdict{length: end.Sub(s.began), acked: len(acks), errors: countErrors(unknowns, s.began, end)}
	for _, u := range unknowns {
		if u.problem != "" {
			v.first = u.problem
			break
		}
	}
	rows, err := s.writers.readBack(ctx)
	names := map[string]string{}
	for _, n := range s.stage.nodes {
		names[n.address] = n.name
	}
	for i := range acks {
		acks[i].node = names[acks[i].node]
	}
	for i := range rows {
		rows[i].node = names[rows[i].node]
	}
	if v.unread = err; err == nil {
		v.audit = compare(acks, rows)
	}
	v.reigns = reignsOf(acks)
	v.rivals = rivals(v.reigns)
	v.resumed = len(acks) > 0 && end.Sub(acks[len(acks)-1].at) < 5*time.Second
	v.faults = judge(s.script, end, acks, unknowns, s.observer.history())
	assign(v.faults, s.script, v.audit.lost)
	for i, sc := range s.script[:len(v.faults)] {
		by, n := promotions(s.watch.last(math.MaxInt), sc.begun, nextBegins(s.script, i, end))
		v.faults[i].by = by
		if v.unscripted += n; n > 0 && !sc.standby {
			v.unscripted--
		}
	}
	return v
}

// invite says what to try while the nodes stay up.
func (s *postgresShow) invite() {
	n, st := s.stage.nodes[0], s.stage
	var hosts []string
	for _, n := range st.nodes {
		hosts = append(hosts, n.address)
	}
	fmt.Fprintf(s.out, `
It stays up (^C ends it). Try:
  PGPASSWORD=$(cat %s/secrets/%s/superuser) psql "host=%s port=%d user=postgres"
  export BACKSTAY_SOCKET=%s
  %s status
  %s explain %[2]s
  %[6]s switchover %[2]s
  %[6]s events -f
The configuration is %[8]s.
`, n.data, postgresService, strings.Join(hosts, ","), st.ports.clients, n.socket, st.program, st.program, n.config)
}
