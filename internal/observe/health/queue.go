package health

import "container/heap"

// queue is a heap of entries, the one due first in front.
type queue []*entry

func (q *queue) put(e *entry) {
	if e.index >= 0 {
		heap.Fix(q, e.index)
		return
	}
	heap.Push(q, e)
}

func (q *queue) take(e *entry) {
	if e.index >= 0 {
		heap.Remove(q, e.index)
	}
}

// Len, Less, Swap, Push and Pop serve container/heap.
func (q queue) Len() int { return len(q) }

// Less serves container/heap.
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }

// Swap serves container/heap.
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push serves container/heap.
func (q *queue) Push(x any) {
	e := x.(*entry)
	e.index = len(*q)
	*q = append(*q, e)
}

// Pop serves container/heap.
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	e.index = -1
	return e
}
