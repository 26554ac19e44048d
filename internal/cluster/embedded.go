package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/storage/wal"

	"github.com/backstay/backstay/internal/base/event"
)

const (
	stopTime  = 5 * time.Second  // for etcd to tell that it stopped
	closeTime = 30 * time.Second // and to be gone

	restartPause        = time.Second
	longestRestartPause = time.Minute
)

// errFailed marks the end of a member that was running and may be started again; errFatal is a start that etcd gave up in
// the middle.
var (
	errFailed = errors.New("this node's member of the store failed")
	errFatal  = errors.New("etcd cannot start")
)

// runEmbedded runs the member until ctx ends, it is removed, or must not run. A member that failed (its disk was full,
// say) starts again after a while: the node has services that may do well without it meanwhile.
func (c *Cluster) runEmbedded(ctx context.Context) error {
	if err := c.complete(); err != nil {
		return err
	}
	unlock, err := lock(c.o.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	again := false
	for pause := restartPause; ; pause, again = min(2*pause, longestRestartPause), true {
		began := time.Now()
		closed, err := c.runMember(ctx, again)
		if !errors.Is(err, errFailed) || ctx.Err() != nil {
			return err
		}
		if time.Since(began) > longestRestartPause {
			pause = restartPause
		}
		if err := c.rest(ctx, closed, pause, err); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// rest lets the node use the other members' store while its own member has failed, until that may start again. After
// some failures etcd cannot be ended within the process; then that is so until the process ends.
func (c *Cluster) rest(ctx context.Context, closed <-chan struct{}, pause time.Duration, reason error) error {
	c.o.Log.Error("the store's member failed", "error", reason, "others", c.others())
	c.tell(event.ClusterFailed, fmt.Sprintf("%v; the node uses the other members' meanwhile.", reason))
	if others := c.others(); len(others) > 0 {
		client, err := c.dial(ctx, others)
		if err != nil {
			return err
		}
		c.start(nil, client)
		defer c.stop()
	}
	select {
	case <-closed:
	case <-ctx.Done():
		return nil
	case <-time.After(closeTime):
		c.tell(event.ClusterFailed, "The failed member of the store cannot be ended; restart the node when the cause is cured.")
		<-ctx.Done()
		return nil
	}
	for told := false; ; told = true {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
		lack := c.lacksRoom()
		if lack == "" {
			return nil
		}
		if !told {
			c.tell(event.ClusterFailed, lack+": this node's member of the store starts again when there is room.")
		}
	}
}

// lacksRoom says so where the disk has no room for what etcd sets aside when it starts: the rest of its segment of log and
// the next one. Without it the start fails, and cannot be tried again within the process.
func (c *Cluster) lacksRoom() string {
	need := uint64(2 * wal.SegmentSizeBytes)
	var fs syscall.Statfs_t
	if err := syscall.Statfs(c.o.Dir, &fs); err != nil {
		return ""
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < need {
		return fmt.Sprintf("The disk is full: %d of %d MiB are free for %s", free>>20, need>>20, c.o.Dir)
	}
	return ""
}

// runMember runs etcd once. After errFailed it may not be closed yet. What does not start at first is for people to
// see; what does not start again may the next time.
func (c *Cluster) runMember(ctx context.Context, again bool) (closed chan struct{}, err error) {
	closed = make(chan struct{})
	id, err := readIdentity(c.o.Dir)
	if err != nil {
		return closed, err
	}
	if err := id.check(&c.o); err != nil {
		return closed, err
	}
	config := c.config()
	if id, err = c.prepare(ctx, id, config); err != nil {
		return closed, err
	}
	e, err := c.begin(config)
	if err != nil && again {
		if !errors.Is(err, errFatal) { // then it is not closed, nor will be
			close(closed)
		}
		return closed, fmt.Errorf("%w: it does not start again: %w", errFailed, err)
	}
	if err != nil {
		return closed, fmt.Errorf("start this node's member of the store: %w", err)
	}
	err = c.attend(ctx, e, id)
	go func() { defer close(closed); e.Close() }()
	if errors.Is(err, errFailed) {
		return closed, err
	}
	select {
	case <-closed:
		return closed, err
	case <-time.After(closeTime):
		return closed, errors.Join(err, errors.New("this node's member of the store does not stop; the process must end"))
	}
}

// begin starts etcd. A fatal message ends the goroutine in which it is said, and files stay open and locked: this one has
// nothing else to do.
func (c *Cluster) begin(config *embed.Config) (e *embed.Etcd, err error) {
	select {
	case <-c.failures: // of the run before
	default:
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = errFatal
		e, err = embed.StartEtcd(config)
	}()
	<-done
	if errors.Is(err, errFatal) {
		select {
		case reason := <-c.failures:
			err = fmt.Errorf("%w: %s", errFatal, reason)
		default:
		}
	}
	return e, err
}

// prepare decides how the member begins: again, as the founder, or by joining. It writes down what it is about to be
// before it is, so that a crash on the way is taken up where it was.
func (c *Cluster) prepare(ctx context.Context, id identity, cfg *embed.Config) (identity, error) {
	switch {
	case id.State != "" && hasData(c.o.Dir):
		return id, c.recognise(ctx, id)
	case id.State == "" && hasData(c.o.Dir):
		return id, fmt.Errorf("%s has data of a store but not whose it is (identity.json is missing); restore it, or let the "+
			"node join anew: `backstay cluster join --anew`", c.o.Dir)
	case id.State == stateJoining || id.State == "" && len(c.o.Join) > 0:
		return c.join(ctx, id, cfg)
	case id.State == stateFounding || c.o.Bootstrap:
		return c.found(ctx, id, cfg)
	default:
		return id, fmt.Errorf("%w: found a new cluster on its first node (`backstay init`), or join one (`backstay cluster join`)",
			ErrNotInitialized)
	}
}

func (c *Cluster) found(ctx context.Context, id identity, cfg *embed.Config) (identity, error) {
	for _, seen := range c.probe(ctx, c.o.Others) {
		return id, fmt.Errorf("%w: %s is a member of one; join it instead of founding another", ErrExists, seen.address)
	}
	if id.State == "" {
		id = identity{Cluster: c.o.Cluster, Node: c.o.Node, State: stateFounding, Token: rand.Text(), Since: time.Now()}
		if err := id.write(c.o.Dir); err != nil {
			return id, err
		}
	}
	cfg.ClusterState = embed.ClusterStateFlagNew
	cfg.InitialClusterToken = id.Token
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	return id, nil
}

// attend waits for the member to be one, serves, and waits for the end.
func (c *Cluster) attend(ctx context.Context, e *embed.Etcd, id identity) error {
	work, cancel := context.WithCancel(ctx)
	var working sync.WaitGroup
	defer working.Wait()
	defer cancel()
	defer c.stop()
	if id.State != stateJoining {
		c.start(e, v3client.New(e.Server))
	}
	working.Go(func() { c.settle(work, e, id) })
	past := make(chan error, 1)
	if id.State == stateMember {
		working.Go(func() { c.recogniseLater(work, e.Server.ReadyNotify(), id, past) })
	}
	select {
	case <-ctx.Done():
		return nil
	case <-e.Server.StopNotify():
		return c.ended(e, id)
	case err := <-past:
		return err
	case reason := <-c.failures:
		return fmt.Errorf("%w: %s", errFailed, reason)
	case err := <-e.Err(): // its listeners may notice that it stops before it has
		select {
		case <-e.Server.StopNotify():
			return c.ended(e, id)
		case <-time.After(stopTime):
			return fmt.Errorf("%w: %w", errFailed, err)
		}
	}
}

// settle makes a learner a voter, writes down who the member is, and goes on with what members do.
func (c *Cluster) settle(ctx context.Context, e *embed.Etcd, id identity) {
	select {
	case <-ctx.Done():
		return
	case <-e.Server.StopNotify():
		return
	case <-e.Server.ReadyNotify():
	}
	if id.State == stateJoining { // a learner answers nobody
		if !c.promote(ctx, e) {
			return
		}
		c.start(e, v3client.New(e.Server))
	}
	generation, err := c.generation(ctx)
	if err != nil {
		return // only with ctx
	}
	before := id
	id.State, id.Token, id.Generation = stateMember, "", generation
	id.ClusterID, id.MemberID = e.Server.Cluster().ID().String(), e.Server.MemberID().String()
	if id != before {
		id.Since = time.Now()
		if err := id.write(c.o.Dir); err != nil {
			c.failed(fmt.Sprintf("write down who this member is: %v", err))
			return
		}
	}
	switch before.State {
	case stateFounding:
		c.tell(event.ClusterFounded, fmt.Sprintf("%s founded the cluster %s.", c.o.Node, c.o.Cluster))
	case stateJoining:
		c.tell(event.ClusterJoined, fmt.Sprintf("%s joined the cluster %s and votes from now on.", c.o.Node, c.o.Cluster))
	}
	c.answered.Do(func() { close(c.ready) })
	c.maintain(ctx, e)
}

// ended says why etcd stopped by itself.
func (c *Cluster) ended(e *embed.Etcd, id identity) error {
	c.mu.Lock()
	leaving := c.leaving
	c.mu.Unlock()
	if !leaving && !c.removed.Load() && e.Server.Cluster().Member(e.Server.MemberID()) != nil {
		return fmt.Errorf("%w: it stopped by itself; the log says why", errFailed)
	}
	id.State, id.Reason, id.Since = stateRemoved, "removed by another member", time.Now()
	if leaving {
		id.Reason = "left the cluster"
	}
	if err := id.write(c.o.Dir); err != nil {
		return err
	}
	if leaving {
		return nil
	}
	return fmt.Errorf("%w: %s; to bring the node back let it join anew: `backstay cluster join --anew` puts %s aside", ErrRemoved, c.o.Node, c.o.Dir)
}

func (c *Cluster) tell(kind, message string) {
	c.o.Append(event.Record{Kind: kind, Node: c.o.Node, Message: message})
}

func hostPort(u string) string {
	_, rest, ok := strings.Cut(u, "://")
	if !ok {
		return u
	}
	return rest
}
