package demo

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/operate/api"
)

// postgresScene is one fault: what is done to whom, and how it is mended.
type postgresScene struct {
	title   string // with %s for the node it happens to
	over    string // likewise; empty where nothing has to be mended
	standby bool   // it happens to a standby instead of the primary
	at      time.Duration
	until   time.Duration
	begin   func(context.Context, *postgresStage, *postgresNode) error
	end     func(context.Context, *postgresStage, *postgresNode) error
	victim  string
	begun   time.Time // when it really happened
	mended  time.Time
}

// happened is the title with the victim's name.
func (sc *postgresScene) happened() string { return fmt.Sprintf(sc.title, sc.victim) }

// postgresScript spreads the scenes over the length of the demonstration. What they leave to mend is mended at their end.
func postgresScript(length time.Duration) []*postgresScene {
	at := func(part float64) time.Duration { return time.Duration(part * float64(length)) }
	return []*postgresScene{
		{
			title: "switchover away from %s", at: at(0.07), until: at(0.07),
			begin: func(ctx context.Context, _ *postgresStage, n *postgresNode) error {
				return api.Dial(n.socket).Wish(ctx, api.Wish{Service: postgresService, Kind: "switchover"})
			},
		},
		{
			title: "%s: PostgreSQL killed (kill -9)", at: at(0.24), until: at(0.24),
			begin: func(_ context.Context, _ *postgresStage, n *postgresNode) error {
				pid, err := n.postmaster()
				if err != nil {
					return err
				}
				return syscall.Kill(pid, syscall.SIGKILL)
			},
		},
		{
			title: "%s: node process killed (kill -9)", over: "the node %s is started again", at: at(0.45), until: at(0.53),
			begin: func(_ context.Context, _ *postgresStage, n *postgresNode) error { return n.kill() },
			end:   func(ctx context.Context, s *postgresStage, n *postgresNode) error { return s.run(ctx, n) },
		},
		{
			title: "%s: standby hangs (SIGSTOP)", over: "the standby %s goes on (SIGCONT)", standby: true, at: at(0.73), until: at(0.81),
			begin: func(_ context.Context, _ *postgresStage, n *postgresNode) error {
				return n.signalInstance(syscall.SIGSTOP)
			},
			end: func(_ context.Context, _ *postgresStage, n *postgresNode) error {
				if err := n.signalInstance(syscall.SIGCONT); err != nil && !errors.Is(err, syscall.ESRCH) {
					return err
				}
				return nil // it may have been started anew meanwhile
			},
		},
	}
}

// wholeWithin is how long a scene waits for redundancy to be whole before it breaks something else.
const wholeWithin = 15 * time.Second

// play lets each scene begin and end at its time; later where redundancy is not whole yet.
func (s *postgresShow) play(ctx context.Context) error {
	for _, sc := range s.script {
		if !sleepUntil(ctx, s.began.Add(sc.at)) {
			return nil
		}
		if !s.observer.awaitWhole(ctx, time.Now().Add(s.patience)) {
			if ctx.Err() != nil {
				return nil
			}
			s.say(fmt.Sprintf("redundancy was not whole again within %s; the script goes on", s.patience))
		}
		if err := s.perform(ctx, sc); err != nil {
			return err
		}
	}
	sleepUntil(ctx, s.began.Add(s.length)) // what the last scene breaks is not seen at once
	s.observer.awaitWhole(ctx, time.Now().Add(s.patience))
	return nil
}

// perform begins and ends one scene.
func (s *postgresShow) perform(ctx context.Context, sc *postgresScene) error {
	victim, err := s.victim(ctx, sc.standby)
	if err != nil {
		return fmt.Errorf(sc.title+": %w", "a node", err)
	}
	s.stage.remember()
	s.change(func() { sc.victim, sc.begun = victim.name, time.Now() })
	if err := sc.begin(ctx, s.stage, victim); err != nil {
		return fmt.Errorf("%s: %w", sc.happened(), err)
	}
	s.say(sc.happened())
	if sc.end != nil {
		sleepUntil(ctx, sc.begun.Add(sc.until-sc.at))
		s.change(func() { sc.mended = time.Now() })
		if err := sc.end(context.WithoutCancel(ctx), s.stage, victim); err != nil {
			return fmt.Errorf("end of %s: %w", sc.happened(), err)
		}
		s.say(fmt.Sprintf(sc.over, sc.victim))
		return nil
	}
	s.change(func() { sc.mended = sc.begun })
	return nil
}

// victim is the node that the next scene happens to.
func (s *postgresShow) victim(ctx context.Context, standby bool) (*postgresNode, error) {
	for deadline := time.Now().Add(s.patience); time.Now().Before(deadline); {
		name := s.observer.primary()
		if standby {
			name = s.observer.standby()
		}
		if n := s.stage.node(name); n != nil {
			return n, nil
		}
		if !sleepUntil(ctx, time.Now().Add(lookEvery)) {
			return nil, ctx.Err()
		}
	}
	if standby {
		return nil, errors.New("there is no standby")
	}
	return nil, errors.New("there is no primary")
}
