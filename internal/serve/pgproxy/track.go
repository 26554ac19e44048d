package pgproxy

import (
	"bytes"
	"maps"
)

// Bounds of what is kept of a session. Beyond them it is tied to its server.
const (
	maxStatements     = 2048
	maxStatement      = 256 << 10 // bytes of one
	maxStatementBytes = 2 << 20
	maxPipeline       = 1 << 16 // requests on their way
)

// tracker follows a session from what passes: whether it is idle, and what another server would have to be told for the
// session to go on there. It does no I/O and waits for nothing.
type tracker struct {
	status byte // of the transaction: I, T or E
	queue  []item
	head   int  // of the queue
	work   int  // items that a ReadyForQuery ends
	open   bool // there are messages of the extended protocol that no Sync has ended
	copies bool // the server takes rows: it passes over Sync
	skips  bool // the server passes over all until a Sync that the client has not sent yet
	asked  int  // messages of the extended protocol since the last that ReadyForQuery ends
	torn   bool // the client's message is not there as a whole: what comes next is the rest of it
	over   bool // the client has said goodbye

	ties       ties
	settings   settings
	statements map[string][]byte // the Parse messages, by name
	kept       int               // their bytes
	unnamed    []byte            // the Parse message of the unnamed one; empty without
	parameters map[string]string // as the server last told

	unit    unit
	pending item // of a message that is not there as a whole
	waiting int  // bytes of Parse messages in the queue
	words   words
}

// item is something the server is to answer.
type item struct {
	kind byte   // Parse, Close, or what ReadyForQuery ends: Query, Sync, FunctionCall; CopyDone marks a place
	name string // of the statement
	msg  []byte // Parse
	text string // where it is a setting or the like
	ties ties   // what its text may tie
	sets int    // settings in it that outlive their transaction
	// behind is how many messages of the extended protocol no Sync has ended before it: where one of them fails, the server
	// passes over a Query too.
	behind int
}

// idle says that the server owes nothing, and no transaction is open.
func (t *tracker) idle() bool {
	return t.status == 'I' && t.unasked()
}

// unasked says that the server has nothing to answer.
func (t *tracker) unasked() bool { return t.head == len(t.queue) && !t.open && !t.copies && !t.torn }

// forget drops what is on its way: it did not reach the server.
func (t *tracker) forget() {
	t.queue, t.head, t.work, t.open, t.copies, t.torn, t.over = t.queue[:0], 0, 0, false, false, false, false
	t.skips, t.asked = false, 0
	t.pending, t.unit = item{msg: t.pending.msg[:0]}, unit{texts: t.unit.texts[:0]}
}

// client takes in a part of a message on its way to the server. It says true at the end of what ReadyForQuery ends.
func (t *tracker) client(p *part) bool {
	t.torn = !p.last
	if t.skips && p.kind != 'S' && p.kind != 'X' {
		return false
	}
	if p.last && (p.kind == 'P' || p.kind == 'B' || p.kind == 'D' || p.kind == 'E' || p.kind == 'C') {
		t.asked++
	}
	switch p.kind {
	case 'Q':
		return t.query(p)
	case 'P':
		t.open = true
		t.parse(p)
	case 'C':
		t.open = true
		if p.first && len(p.body) > 1 {
			it := item{kind: 'C'}
			if p.body[0] == 'S' {
				it.name = string(cstring(p.body[1:])) + "\x00"
			}
			t.push(it)
		}
	case 'B', 'E', 'D', 'H':
		t.open = true
	case 'S':
		t.open, t.skips, t.asked = false, false, 0
		if !t.copies {
			t.push(item{kind: 'S'})
			t.work++
		}
		return true
	case 'F':
		if p.first {
			t.push(item{kind: 'F', behind: t.asked})
			t.asked = 0
			t.work++
		}
		return p.last
	case 'c', 'f':
		if t.copies {
			t.copies = false
		} else if p.first && t.head < len(t.queue) {
			t.push(item{kind: 'c'})
		}
	case 'd':
	case 'X':
		t.over = true
	default:
		t.open = true
		t.ties |= tieProtocol
	}
	return false
}

func (t *tracker) push(it item) {
	if t.head == len(t.queue) {
		t.queue, t.head, t.waiting = t.queue[:0], 0, 0
		if cap(t.queue) > 256 {
			t.queue = nil
		}
	}
	if t.waiting += len(it.msg); t.waiting > maxStatementBytes {
		it.ties |= tieStatements
		t.ties |= it.ties
		it.msg = nil
	}
	if len(t.queue)-t.head >= maxPipeline {
		t.ties |= tieProtocol
	}
	n := len(t.queue)
	if n < cap(t.queue) && cap(t.queue[:n+1][n].msg) <= maxBuffer { // the memory of an old message is used again
		t.queue = t.queue[:n+1]
		it.msg = append(t.queue[n].msg[:0], it.msg...)
		t.queue[n] = it
		return
	}
	it.msg = bytes.Clone(it.msg)
	t.queue = append(t.queue, it)
}

func (t *tracker) query(p *part) bool {
	if p.first {
		t.words.reset()
	}
	t.words.read(p.body)
	if !p.last {
		return false
	}
	t.words.end()
	t.open = false // it ends what is open like a Sync
	it := item{kind: 'Q', sets: t.words.sets, ties: t.learn(), behind: t.asked}
	t.asked = 0
	if p.first && t.words.telling() && len(p.body) <= maxSettingText {
		it.text = string(cstring(p.body))
	}
	t.push(it)
	t.work++
	return true
}

// learn takes in what the words of a text say.
func (t *tracker) learn() ties {
	found := t.words.ties
	if t.words.configs > 0 {
		found |= tieSetting
	}
	t.ties |= found
	return found
}

func (t *tracker) parse(p *part) {
	text := p.body
	if p.first {
		t.words.reset()
		t.pending = item{kind: 'P', name: string(cstring(p.body)), msg: t.pending.msg[:0]}
		text = text[min(len(t.pending.name)+1, len(text)):]
	}
	if len(t.pending.msg)+len(p.raw) <= maxStatement {
		t.pending.msg = append(t.pending.msg, p.raw...)
	} else {
		t.pending.ties |= tieStatements
	}
	if end := bytes.IndexByte(text, 0); end >= 0 {
		text = text[:end] // behind it are the types of parameters, which have no words
	}
	t.words.read(text)
	if !p.last {
		return
	}
	t.words.end()
	t.ties |= t.pending.ties
	t.pending.ties |= t.learn()
	if t.words.telling() && len(text) <= maxSettingText && p.first {
		t.pending.text, t.pending.sets = string(text), t.words.sets
	}
	t.push(t.pending)
	t.pending.text, t.pending.sets = "", 0
}

// cstring is b up to its first zero.
func cstring(b []byte) []byte {
	if end := bytes.IndexByte(b, 0); end >= 0 {
		return b[:end]
	}
	return b
}

// pop takes the head of the queue, where it is of that kind.
func (t *tracker) pop(kind byte) *item {
	if t.head == len(t.queue) || t.queue[t.head].kind != kind {
		return nil
	}
	t.head++
	return &t.queue[t.head-1]
}

// reset is for another server: what it is told anew begins anew.
func (t *tracker) reset(parameters map[string]string) {
	t.status = 'I'
	t.forget()
	t.parameters = maps.Clone(parameters)
}
