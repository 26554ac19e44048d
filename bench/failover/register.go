package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/jackc/pgx/v5"
)

// registers are a few rows that sessions write and read all the time. What each was told is checked for linearizability:
// there must be one order of all operations, each between its call and its return, that explains every answer.
type registers struct {
	client *client
	stop   context.CancelFunc
	parts  sync.WaitGroup

	mu      sync.Mutex
	history []porcupine.Operation
	began   time.Time
}

// An operation writes a value that nobody else writes, or reads. Reads are updates that change nothing: they need the
// primary's authority like writes.
type operation struct {
	key   int
	write bool
	value int64
}

const (
	registerKeys    = 3
	registerWorkers = 4
	createRegisters = `CREATE TABLE IF NOT EXISTS registers (key int PRIMARY KEY, value bigint NOT NULL); INSERT INTO registers SELECT k, 0 FROM generate_series(0, 2) k ON CONFLICT DO NOTHING`
)

func startRegisters(c *client) *registers {
	ctx, stop := context.WithCancel(context.Background())
	r := &registers{client: c, stop: stop, began: time.Now()}
	for i := range registerWorkers {
		r.parts.Go(func() { r.work(ctx, i, c.doors[i%len(c.doors)]) })
	}
	return r
}

func (r *registers) work(ctx context.Context, worker int, d door) {
	var conn *pgx.Conn
	for serial := int64(1); ctx.Err() == nil; serial++ {
		pause(ctx, 20*time.Millisecond)
		if conn == nil {
			try, cancel := context.WithTimeout(ctx, 10*time.Second)
			next, err := r.client.connect(try, d.address)
			cancel()
			if err != nil {
				continue
			}
			conn = next
		}
		op := operation{key: rand.IntN(registerKeys), write: rand.IntN(2) == 0, value: int64(worker)<<40 | serial}
		if err := r.perform(conn, worker, op); err != nil {
			closeSoon(conn)
			conn = nil
		}
	}
	if conn != nil {
		closeSoon(conn)
	}
}

// perform does one operation. Of a write that failed it is not known whether it took place: it may, at any later time.
func (r *registers) perform(conn *pgx.Conn, worker int, op operation) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	call := time.Since(r.began)
	var value int64
	var err error
	if op.write {
		err = conn.QueryRow(ctx, "UPDATE registers SET value = $2 WHERE key = $1 RETURNING value", op.key, op.value).Scan(&value)
	} else {
		err = conn.QueryRow(ctx, "UPDATE registers SET value = value WHERE key = $1 RETURNING value", op.key).Scan(&value)
	}
	o := porcupine.Operation{ClientId: worker, Input: op, Call: int64(call), Output: value, Return: int64(time.Since(r.began))}
	if err != nil {
		if !op.write {
			return err
		}
		o.Return = int64(1) << 62
	}
	r.mu.Lock()
	r.history = append(r.history, o)
	r.mu.Unlock()
	return err
}

// check ends the work and judges the history.
func (r *registers) check() (verdict string, operations int) {
	r.stop()
	r.parts.Wait()
	// A client whose write has an unknown fate goes on as another: one client does one thing at a time.
	next := registerWorkers
	now := map[int]int{}
	for i := range r.history {
		o := &r.history[i]
		worker := o.ClientId
		if as, ok := now[worker]; ok {
			o.ClientId = as
		}
		if o.Return == 1<<62 {
			now[worker] = next
			next++
		}
	}
	model := porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			parts := make([][]porcupine.Operation, registerKeys)
			for _, o := range history {
				k := o.Input.(operation).key
				parts[k] = append(parts[k], o)
			}
			return parts
		},
		Init: func() any { return int64(0) },
		Step: func(state, input, output any) (bool, any) {
			if op := input.(operation); op.write {
				return true, op.value
			}
			return output.(int64) == state.(int64), state
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v → %v", input, output) },
	}
	switch porcupine.CheckOperationsTimeout(model, r.history, time.Minute) {
	case porcupine.Ok:
		return "linearizable", len(r.history)
	case porcupine.Illegal:
		return "NOT linearizable", len(r.history)
	}
	return "not decided within a minute", len(r.history)
}
