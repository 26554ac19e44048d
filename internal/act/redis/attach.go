package redis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/act/account"
	"github.com/backstay/backstay/internal/act/ledger"
)

// attach has the running instance replicate from a node. Redis discards without a word what an upstream does not have:
// therefore the histories are compared first. What is not known to be a beginning of the upstream's is put aside; what is
// known not to be one is refused, unless giveUp. An upstream that cannot be asked is tried again by Run.
func (e *Engine) attach(ctx context.Context, node string, giveUp bool) error {
	address, err := e.peer(node)
	if err != nil {
		return err
	}
	if err := e.refresh(ctx); err != nil {
		return err
	}
	own := e.facts()
	if own.upstream() == address {
		return nil
	}
	up, err := e.lookAt(ctx, address)
	if err != nil {
		e.setApart(fmt.Sprintf("%s cannot be asked: %v", node, err))
		if giveUp {
			return fmt.Errorf("%s cannot be asked what it has: %w", node, err)
		}
		return nil
	}
	copying := e.ledger.State().Copying
	if !copying {
		if err := e.compare(own, up, node, giveUp); err != nil {
			e.setApart(err.Error())
			return err
		}
	}
	if !copying && !continues(own, up) {
		if err := e.ledger.Update(func(st *ledger.State) { st.Copying = true }); err != nil {
			return err
		}
	}
	if err := e.loosen(); err != nil {
		return err
	}
	e.setApart("")
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	return e.command(ctx, "REPLICAOF", host, port)
}

// compare holds the own history against the upstream's.
func (e *Engine) compare(own, up facts, node string, giveUp bool) error {
	e.mu.Lock()
	at, exact := e.whereabouts()
	e.mu.Unlock()
	r := relate(own.origin, at, exact, e.o.Node, up.origin, position(up.origin.Life, up.offset))
	switch {
	case r == foreign:
		return act.ErrForeign
	case r == beginning:
		return nil
	case r == diverged && !giveUp:
		return fmt.Errorf("%d in life %d, which %s does not have: %w", at, own.origin.Life, node, act.ErrDiverged)
	}
	why := "it may have writes that " + node + " does not have"
	if r == diverged {
		why = "it has writes that " + node + " does not have"
	}
	return e.rescue(why)
}

// continues says whether the stream can go on from where the instance is; otherwise Redis copies everything.
func continues(own, up facts) bool {
	next := own.offset + 1
	if up.backlog == 0 || next < up.backlog {
		return false
	}
	return own.replid == up.replid && next <= up.offset+1 || own.replid == up.replid2 && next <= up.second
}

func (e *Engine) setApart(why string) {
	e.mu.Lock()
	e.apart = why
	e.mu.Unlock()
}

// tend notes when a copy begins that nobody ordered, as Redis does by itself after a long absence, and when one is whole
// and on disk: until its append-only file is rewritten a crash would bring back what was there before.
func (e *Engine) tend() {
	f, st := e.facts(), e.ledger.State()
	copying := st.Copying
	switch {
	case !f.known || f.master:
		return
	case f.syncing:
		copying = true
	case f.linkUp && !f.loading && f.logOn && !f.rewriting && f.writesFail == "" && f.origin.Life > 0:
		copying = false
	}
	if copying == st.Copying {
		return
	}
	if err := e.ledger.Update(func(st *ledger.State) { st.Copying = copying }); err != nil {
		e.log.Warn("the state of a copy could not be noted", "error", err)
	}
	e.tell.Notify()
}

// rescue puts the data's files aside as they are: as links, which cost nothing until the files are replaced.
func (e *Engine) rescue(why string) error {
	began := time.Now()
	dir := e.aside.At(began)
	if err := os.MkdirAll(filepath.Join(dir, "appendonlydir"), 0o700); err != nil {
		return fmt.Errorf("put the data aside: %w", err)
	}
	files, err := filepath.Glob(e.data(filepath.Join("appendonlydir", "*")))
	if err != nil {
		return err
	}
	if e.hasDump() {
		files = append(files, e.data("dump.rdb"))
	}
	for _, f := range files {
		name, err := filepath.Rel(e.DataPath(), f)
		if err == nil {
			err = os.Link(f, filepath.Join(dir, name))
		}
		if err != nil {
			return fmt.Errorf("put the data aside: %w", err)
		}
	}
	e.mu.Lock()
	at, _ := e.whereabouts()
	from := e.rest.Origin
	if e.running() {
		from = e.seen.originText
	}
	e.mu.Unlock()
	text := fmt.Sprintf("The data of %s on %s, put aside at %s because %s.\nPosition: %d. Origin: %s\n\nTo look at it, copy this folder and run in the copy:\n  redis-server --port 7777 --appendonly yes --dir .\nRedis writes to what it is started on. Backstay keeps this folder for at least %v.\n",
		e.o.Service, e.o.Node, began.UTC().Format(time.RFC3339), why, at, from, e.aside.Least())
	if err := (account.Account{}).Write(filepath.Join(dir, "SUMMARY.txt"), []byte(text), 0o600); err != nil {
		return fmt.Errorf("put the data aside: %w", err)
	}
	e.tell.Record(act.EventRescued, fmt.Sprintf("the data of %s was put aside", e.o.Node), why+"; it is in "+dir, nil)
	return nil
}

// newSystem names an origin of data.
func newSystem() string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
