package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// write inserts a row after the other. A session that fails is replaced; a row that failed is not sent again.
func (c *client) write(ctx context.Context, d door, id int64, insert func(context.Context, *pgx.Conn, *acknowledgement) error) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			closeSoon(conn)
		}
	}()
	for ; ctx.Err() == nil; id++ {
		if conn == nil {
			if conn = c.again(ctx, d); conn == nil {
				return
			}
		}
		a := acknowledgement{id: id, sent: time.Now()}
		try, cancel := context.WithTimeout(context.WithoutCancel(ctx), patienceOf) // what is begun is ended, or it would be unsure
		err := insert(try, conn, &a)
		cancel()
		if err != nil {
			c.mu.Lock()
			c.unsure[id] = true
			c.mu.Unlock()
			c.failed(ctx, d, atWork, err)
			closeSoon(conn)
			conn = nil
			pause(ctx, retryPause)
			continue
		}
		a.at = time.Now()
		c.mu.Lock()
		c.acks = append(c.acks, a)
		c.mu.Unlock()
		pause(ctx, writePause)
	}
}

func insertAlone(ctx context.Context, conn *pgx.Conn, a *acknowledgement) error {
	return insert(ctx, conn, a)
}

func insert(ctx context.Context, by interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}, a *acknowledgement) error {
	return by.QueryRow(ctx, insertSQL, a.id).Scan(&a.node, &a.epoch, &a.wrote)
}

func insertInTransaction(ctx context.Context, conn *pgx.Conn, a *acknowledgement) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	if err := insert(ctx, tx, a); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// again opens a session in place of one that failed, trying until it can be had; nil when ctx ends.
func (c *client) again(ctx context.Context, d door) *pgx.Conn {
	for ctx.Err() == nil {
		conn, err := c.connect(ctx, d.address)
		if err == nil {
			return conn
		}
		c.failed(ctx, d, reopening, err)
		pause(ctx, retryPause)
	}
	return nil
}

// open opens a new session now and then.
func (c *client) open(ctx context.Context, d door) {
	for ctx.Err() == nil {
		began := time.Now()
		conn, err := c.connect(ctx, d.address)
		if err != nil {
			c.failed(ctx, d, opening, err)
		} else {
			closeSoon(conn)
		}
		c.mu.Lock()
		c.opened[d.node]++
		if err == nil {
			c.slowest[d.node] = max(c.slowest[d.node], time.Since(began))
		}
		c.mu.Unlock()
		pause(ctx, openPause)
	}
}

// idle keeps a session that sends a query now and then, outside of any transaction, and once more at the end.
func (c *client) idle(ctx context.Context, d door, phase time.Duration) {
	conn := c.again(ctx, d)
	if conn == nil {
		return
	}
	defer func() { closeSoon(conn) }()
	c.mu.Lock()
	c.resting[d.node]++
	c.mu.Unlock()
	for last := false; !last; phase = idlePause {
		pause(ctx, phase)
		last = ctx.Err() != nil
		try, cancel := context.WithTimeout(context.Background(), patienceOf)
		_, err := conn.Exec(try, "SELECT 1")
		cancel()
		if err == nil {
			continue
		}
		c.failed(context.Background(), d, idling, err)
		closeSoon(conn)
		next := c.again(ctx, d)
		if next == nil {
			return
		}
		conn = next
	}
}
