// Package guard is a small process beside the node: it stops the database where the node process dies or hangs, so that
// a primary never outlives the authority that its node had. The node tells it over a pipe for how long from now all is
// well; when that time is over, or the pipe closes without a word, it ends the server of one data directory: at
// once, then by force.
//
// It decides nothing else, keeps nothing on disk, and touches no process that it cannot prove to be that server.
package guard

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/act/daemon"
)

// Words of the pipe, one a line. Behind keep stands until when, in milliseconds since the machine started: a line that was
// read late must not count as if it had just been said.
const (
	wordKeep    = "keep"    // all is well until then
	wordStandby = "standby" // it is known to take no writes: without the node it may go on for a while, for the next to take it over
	wordRelease = "release" // the instance needs no guard until the next word
)

// Options are what a guard process is told on its command line.
type Options struct {
	// DataDir is PostgreSQL's data directory, or the folder of a Redis.
	DataDir string
	// Command, where set, is run instead: it stops an instance that the guard cannot know, and is run again where it fails.
	Command []string
	// Lock is the file that is locked by whoever looks after the instance. A standby whose node process is gone is stopped in
	// good order when nobody has had the lock for Linger, 1 m where zero; without a Lock it is left alone.
	Lock   string
	Linger time.Duration
	// Patience is how long the server may take to end at once before it is killed; 1 s where zero.
	Patience time.Duration
	// Orders is the pipe from the node; Answers, where set, gets a line "ready" at the beginning and one for each stop.
	Orders  io.Reader
	Answers io.Writer
	Log     *slog.Logger
}

// Run is the guard process. It returns when the pipe is closed or ctx ends, after it did its work: only a release just
// before lets the server live on.
func Run(ctx context.Context, o Options) error {
	if o.Patience == 0 {
		o.Patience = time.Second
	}
	if o.Linger == 0 {
		o.Linger = time.Minute
	}
	signal.Ignore(syscall.SIGPIPE) // of a node that does not hear any more
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	// Where memory runs out, others go first; where this is not allowed the guard still does what it can.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-900"), 0o600)
	orders, ended := make(chan order), make(chan error, 1)
	done := make(chan struct{})
	defer close(done)
	go func() { ended <- listen(o.Orders, orders, done) }()
	g := &guard{Options: o}
	g.say("ready")
	return g.watch(ctx, orders, ended)
}

type order struct {
	word  string
	until time.Duration // since boot, of a keep
}

// sinceBoot is a clock that is the same for all processes of the machine, and that nobody sets: the first number of
// /proc/uptime, which goes on while the machine sleeps.
func sinceBoot() (time.Duration, error) {
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), " ")
	return time.ParseDuration(first + "s")
}

// listen turns lines into orders until the pipe ends.
func listen(r io.Reader, orders chan<- order, done <-chan struct{}) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		o := order{word: word}
		switch word {
		case wordRelease, wordStandby:
		case wordKeep:
			ms, err := strconv.ParseInt(rest, 10, 64)
			if err != nil || ms < 0 {
				return fmt.Errorf("the node said %q", lines.Text())
			}
			o.until = time.Duration(ms) * time.Millisecond
		default:
			return fmt.Errorf("the node said %q", lines.Text())
		}
		select {
		case orders <- o:
		case <-done:
			return nil
		}
	}
	return lines.Err()
}

type guard struct {
	Options
	word  string          // the last one
	known *daemon.Process // as it was while all was well
}

func (g *guard) watch(ctx context.Context, orders <-chan order, ended <-chan error) error {
	alarm := time.NewTimer(time.Hour)
	alarm.Stop()
	defer alarm.Stop()
	for {
		select {
		case o := <-orders:
			if g.word = o.word; g.word != wordKeep {
				alarm.Stop()
				continue
			}
			now, err := sinceBoot()
			if err != nil {
				return err
			}
			alarm.Reset(max(0, o.until-now))
			g.learn()
		case <-alarm.C:
			g.stop("the node has not renewed its authority in time")
		case err := <-ended:
			switch g.word {
			case wordKeep:
				g.stop("the node process is gone")
			case wordStandby:
				g.linger(ctx)
			}
			return err
		case <-ctx.Done():
			if g.word == wordKeep {
				g.stop("the guard was told to end while it was needed")
			}
			return nil
		}
	}
}

// linger gives the next node process time to take a standby over, and stops it where none has come. One that is a primary
// all the same, as where the node died while it was being promoted, is stopped at once.
func (g *guard) linger(ctx context.Context) {
	if g.Lock == "" {
		return
	}
	if g.isPrimary() {
		g.stop("the node process is gone")
		return
	}
	over := time.After(g.Linger)
	look := time.NewTicker(min(time.Second, g.Linger/4))
	defer look.Stop()
	for waiting := true; waiting; {
		select {
		case <-ctx.Done():
			return
		case <-over:
			waiting = false
		case <-look.C:
		}
		lock, err := daemon.Lock(g.Lock)
		if err != nil {
			return // somebody has taken over
		}
		switch {
		case g.isPrimary(): // a promotion that the node had asked for has come about
			g.stop("the node process is gone")
			waiting = false
		case !waiting:
			g.stopFast()
		}
		_ = lock.Close()
	}
}

// isPrimary says whether the data is PostgreSQL's and not marked as a standby's; of Redis its folder does not tell.
func (g *guard) isPrimary() bool {
	exists := func(name string) bool {
		_, err := os.Lstat(filepath.Join(g.DataDir, name))
		return err == nil
	}
	return exists("PG_VERSION") && !exists("standby.signal")
}

// stopFast ends a standby that nobody looks after any more.
func (g *guard) stopFast() {
	const why = "no node process has come to look after the standby"
	if len(g.Command) > 0 {
		g.run(why)
		return
	}
	if p, err := daemon.Find(g.DataDir); err == nil {
		p.Stop(context.Background(), syscall.SIGINT, 30*time.Second)
		g.Log.Warn("the server was stopped", "why", why, "pid", p.PID)
	}
}

// learn remembers the server, so that it is found even where its pid file is removed later.
func (g *guard) learn() {
	if g.known != nil && g.known.Alive() {
		return
	}
	g.known = nil
	if p, err := daemon.Find(g.DataDir); err == nil {
		g.known = &p
	}
}

// stop ends the server that was known, and another one that runs on the data now.
func (g *guard) stop(why string) {
	began := time.Now()
	if len(g.Command) > 0 {
		g.run(why)
		return
	}
	g.learn()
	for g.known != nil {
		p := *g.known
		forced := p.Stop(context.Background(), syscall.SIGQUIT, g.Patience)
		g.Log.Warn("the server was stopped", "why", why, "pid", p.PID, "forced", forced, "took", time.Since(began))
		g.say(fmt.Sprintf("stopped %d: %s", p.PID, why))
		if p.Alive() {
			return // not even SIGKILL ended it: it sleeps in the kernel, and cannot answer anybody
		}
		g.learn()
	}
}

// run has the command stop the instance, with a few tries.
func (g *guard) run(why string) {
	for range 5 {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		cmd := exec.CommandContext(ctx, g.Command[0], g.Command[1:]...)
		cmd.WaitDelay = time.Second
		words, err := cmd.CombinedOutput()
		cancel()
		g.Log.Warn("the command to stop the instance was run", "why", why, "error", err, "words", string(words))
		if err == nil {
			g.say("stopped by command: " + why)
			return
		}
		g.say(fmt.Sprintf("could not stop it: %v (%s)", err, why))
	}
}

func (g *guard) say(line string) {
	if g.Answers != nil {
		fmt.Fprintln(g.Answers, line)
	}
}
