package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/control"
	"github.com/backstay/backstay/internal/decide/failover"
)

// crewRest is how long an instance that cannot be run rests before the next try.
const crewRest = 15 * time.Second

// A crew keeps this node's instances, and what the loop knows of services, as the configuration in force wants them.
type crew struct {
	s      *stateful
	wanted chan *config.Config // cap 1: the newest

	troubled chan struct{} // cap 1: a trouble came or went

	mu        sync.Mutex
	instances map[string]*instance // by service
	troubles  map[string]string    // why an instance cannot be run
}

func newCrew(s *stateful) *crew {
	return &crew{
		s: s, wanted: make(chan *config.Config, 1), troubled: make(chan struct{}, 1),
		instances: map[string]*instance{}, troubles: map[string]string{},
	}
}

// Want makes a configuration the one to be followed. It does not wait.
func (w *crew) Want(c *config.Config) {
	select {
	case <-w.wanted:
	default:
	}
	w.wanted <- c // only Want sends, under the node's mutex
}

// Run follows what is wanted until ctx ends, and then stops the instances.
func (w *crew) Run(ctx context.Context) error {
	defer func() {
		for _, i := range w.all() {
			i.cancel()
		}
		for _, i := range w.all() {
			<-i.done
		}
	}()
	var unfinished *config.Config
	var again <-chan time.Time
	for {
		next := unfinished
		select {
		case next = <-w.wanted:
		case <-again:
		case <-ctx.Done():
			return nil
		}
		unfinished, again = nil, nil
		err := w.follow(ctx, next)
		if err != nil && ctx.Err() == nil {
			unfinished, again = next, time.After(crewRest)
		}
		w.trouble("services", err)
	}
}

// follow lets go what is not wanted any more, tells what stays of its new settings, and begins what is new.
func (w *crew) follow(ctx context.Context, c *config.Config) error {
	s := w.s
	wanted := map[string]config.Service{}
	for _, sc := range c.Engines() {
		if slices.Contains(sc.Engine.Fleet().Nodes, s.self.Name) {
			wanted[sc.Name] = sc
		}
	}
	staying, leaving := map[string]control.Engine{}, map[string]*instance{}
	for name, i := range w.all() {
		if _, stays := wanted[name]; !stays {
			leaving[name] = i
			continue
		}
		staying[name] = i.engine
		w.trouble(name+" (settings)", i.configure(wanted[name].Engine, s.peers(c, wanted[name])))
	}
	s.declared.Store(c)
	s.link.Configure(s.reports(c))
	var declared []failover.Service
	for _, sc := range c.Engines() { // but for those that this node has yet to prepare an instance of
		if _, mine := wanted[sc.Name]; !mine || staying[sc.Name] != nil {
			declared = append(declared, s.declaration(c, sc))
		}
	}
	if err := s.control.Configure(ctx, declared, staying); err != nil {
		return err
	}
	for name, i := range leaving {
		w.release(name, i)
	}
	for name, sc := range wanted {
		if staying[name] != nil {
			continue
		}
		i := s.instance(c, sc)
		if err := w.provision(ctx, name, i); err != nil {
			return err
		}
		w.begin(ctx, name, i)
		staying[name] = i.engine
		declared = append(declared, s.declaration(c, sc))
	}
	return s.control.Configure(ctx, declared, staying)
}

// begin runs an instance and its guard until it is released; one that cannot be run is tried again.
func (w *crew) begin(ctx context.Context, service string, i *instance) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	i.cancel, i.done = cancel, make(chan struct{})
	_ = i.guard.Standby() // until more is known: no primary is left behind should this process end
	w.mu.Lock()
	w.instances[service] = i
	w.mu.Unlock()
	go func() {
		defer close(i.done)
		for ctx.Err() == nil {
			g := &group{}
			g.Add("guard", i.guard.Run) // the last to go
			if i.certificate != nil {
				g.Add("certificate", i.certificate.Run)
			}
			g.Add("instance", func(ctx context.Context) error {
				err := i.Run(ctx)
				if ctx.Err() != nil && err == nil {
					_ = i.guard.Release() // it is stopped; a guard that does not listen has nothing to be told
				}
				return err
			})
			well := time.AfterFunc(crewRest, func() { w.trouble(service, nil) })
			err := g.Run(ctx)
			well.Stop()
			w.trouble(service, err)
			select {
			case <-ctx.Done():
			case <-time.After(crewRest):
			}
		}
	}()
}

// release stops an instance and forgets it. Its data stays.
func (w *crew) release(service string, i *instance) {
	w.mu.Lock()
	delete(w.instances, service) // nobody tells its guard anything else from now on
	w.mu.Unlock()
	i.cancel()
	<-i.done
	w.trouble(service, nil)
	w.trouble(service+" (settings)", nil)
	w.s.node.append(event.Record{
		Kind: "instance.released", Service: service, Member: w.s.self.Name,
		Message: fmt.Sprintf("the instance of %s on %s is stopped and not looked after any more; its data stays in %s", service, w.s.self.Name, i.data),
	})
}

// trouble notes why an instance cannot be run, or that it can.
func (w *crew) trouble(service string, err error) {
	w.mu.Lock()
	was, now := w.troubles[service], ""
	if err != nil {
		now = err.Error()
		w.troubles[service] = now
	} else {
		delete(w.troubles, service)
	}
	w.mu.Unlock()
	if was == now {
		return
	}
	if now != "" {
		w.s.node.append(event.Record{
			Kind: "instance.unable", Service: service, Member: w.s.self.Name,
			Message: fmt.Sprintf("%s cannot be run as configured; it is tried again every %v", service, crewRest), Evidence: now,
		})
		w.s.log.Error("instance cannot be run", "service", service, "error", now)
	}
	select {
	case w.troubled <- struct{}{}:
	default:
	}
}

// unable says which instances cannot be run, and why; empty when all can.
func (w *crew) unable() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for _, service := range slices.Sorted(maps.Keys(w.troubles)) {
		errs = append(errs, fmt.Errorf("%s: %s", service, w.troubles[service]))
	}
	if err := errors.Join(errs...); err != nil {
		return err.Error()
	}
	return ""
}

func (w *crew) instance(service string) *instance {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.instances[service]
}

func (w *crew) all() map[string]*instance {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.instances)
}

// provision sees to what an instance needs before it can run and the configuration does not name: its certificate, and the
// files with its passwords, which the first node that needs them makes and the others take from the store.
func (w *crew) provision(ctx context.Context, service string, i *instance) error {
	if i.certificate != nil {
		if err := i.certificate.Ensure(ctx); err != nil {
			return fmt.Errorf("certificate of %s: %w", service, err)
		}
	}
	if len(i.secrets) == 0 {
		return nil
	}
	select {
	case <-w.s.store.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, path := range i.secrets {
		if _, err := os.Stat(path); err == nil {
			continue
		}
		secret, err := agreedSecret(ctx, w.s.store, "services/"+service+"/secret/"+filepath.Base(path))
		if err != nil {
			return fmt.Errorf("password %s of %s: %w", filepath.Base(path), service, err)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, secret, 0o600); err != nil {
			return err
		}
	}
	return nil
}
