package pgproxy

import (
	"bytes"
	"maps"
	"strings"
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
}

// unit is what ReadyForQuery ends, as far as it was answered.
type unit struct {
	tags, sets        int
	texts             []string // of settings
	other             string   // of the newest DEALLOCATE or UNLISTEN
	failed            bool
	committed, undone bool
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
	t.pending, t.unit = item{msg: t.pending.msg[:0]}, unit{texts: t.unit.texts[:0]}
}

// client takes in a part of a message on its way to the server. It says true at the end of what ReadyForQuery ends.
func (t *tracker) client(p *part) bool {
	t.torn = !p.last
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
		t.open = false
		if !t.copies {
			t.push(item{kind: 'S'})
			t.work++
		}
		return true
	case 'F':
		if p.first {
			t.push(item{kind: 'F'})
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
	it := item{kind: 'Q', sets: t.words.sets, ties: t.learn()}
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

// untie lets go of what a command has ended. What stands in requests behind it is still to come.
func (t *tracker) untie(ended ties) {
	t.ties &^= ended
	for i := t.head; i < len(t.queue); i++ {
		t.ties |= t.queue[i].ties
	}
}

// telling says that the text itself is needed later.
func (w *words) telling() bool {
	switch w.first {
	case "set", "reset", "unlisten", "deallocate", "discard":
		return true
	}
	return false
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

// server takes in a part of a message on its way to the client.
func (t *tracker) server(p *part) {
	if !p.first {
		return
	}
	switch p.kind {
	case '1':
		if it := t.pop('P'); it != nil {
			t.prepared(it)
		}
	case '3':
		if it := t.pop('C'); it != nil && it.name != "" {
			t.deallocate(it.name[:len(it.name)-1])
		}
	case 'C':
		t.complete(cstring(p.body))
	case 'E':
		t.unit.failed, t.copies = true, false
	case 'G':
		t.copyIn()
	case 'W':
		t.ties |= tieReplication
	case 'S':
		name := cstring(p.body)
		if rest := p.body[len(name):]; len(rest) > 1 {
			t.parameters[string(name)] = string(cstring(rest[1:]))
		}
	case 'Z':
		if len(p.body) == 1 {
			t.ready(p.body[0])
		}
	}
}

// pop takes the head of the queue, where it is of that kind.
func (t *tracker) pop(kind byte) *item {
	if t.head == len(t.queue) || t.queue[t.head].kind != kind {
		return nil
	}
	t.head++
	return &t.queue[t.head-1]
}

func (t *tracker) prepared(it *item) {
	switch {
	case it.text == "":
	case it.sets > 0:
		t.unit.texts = append(t.unit.texts, it.text)
	default:
		t.unit.other = it.text
	}
	if it.name == "" {
		t.unnamed, it.msg = it.msg, t.unnamed
		return
	}
	if len(t.statements) >= maxStatements || t.kept+len(it.msg) > maxStatementBytes {
		t.ties |= tieStatements
		return
	}
	t.deallocate(it.name)
	if t.statements == nil {
		t.statements = map[string][]byte{}
	}
	t.statements[it.name] = bytes.Clone(it.msg)
	t.kept += len(it.msg)
}

func (t *tracker) deallocate(name string) {
	if name == "" {
		t.unnamed = t.unnamed[:0]
		return
	}
	t.kept -= len(t.statements[name])
	delete(t.statements, name)
}

// copyIn is where the server begins to take rows, and so passes over each Sync until CopyDone.
func (t *tracker) copyIn() {
	t.copies = true
	if t.head < len(t.queue) && t.queue[t.head].kind == 'Q' {
		t.copies = !t.mark()
		return
	}
	kept := t.head
	for i := t.head; i < len(t.queue); i++ {
		switch it := &t.queue[i]; {
		case t.copies && it.kind == 'S':
			t.work--
			continue
		case t.copies && it.kind == 'c':
			t.copies = false
			continue
		}
		t.queue[kept], t.queue[i] = t.queue[i], t.queue[kept]
		kept++
	}
	t.queue = t.queue[:kept]
	if t.head == kept {
		t.open = true
	}
}

// mark takes away the place of the CopyDone that a client has sent before it was asked for rows; false without.
func (t *tracker) mark() bool {
	for i := t.head; i < len(t.queue); i++ {
		if t.queue[i].kind == 'c' {
			copy(t.queue[i:], t.queue[i+1:])
			t.queue = t.queue[:len(t.queue)-1]
			return true
		}
	}
	return false
}

// ready is the end of a unit of work.
func (t *tracker) ready(status byte) {
	t.status, t.copies = status, false
	told := 0
	var text string
	for t.head < len(t.queue) {
		it := &t.queue[t.head]
		t.head++
		if it.kind == 'Q' {
			t.unnamed = t.unnamed[:0]
			text, told = it.text, it.sets
		}
		if it.kind == 'Q' || it.kind == 'S' || it.kind == 'F' {
			t.work--
			t.settle(it.kind == 'Q', text, told)
			return
		}
	}
	t.settle(false, "", 0)
}

// settle takes in what the unit has changed for good.
func (t *tracker) settle(simple bool, text string, told int) {
	u := &t.unit
	texts := u.texts
	if simple && text != "" {
		texts = append(texts[:0], text)
	}
	switch {
	case u.sets > 0 && (u.failed && u.committed || u.undone && t.status == 'I'): // before or after the transaction's end
		t.ties |= tieSetting
		texts = nil
	case u.failed || u.sets == 0, simple && told == 0: // it did not work, or ends with its transaction
		texts = nil
	case simple && (text == "" || u.tags != u.sets), !simple && len(texts) != u.sets:
		t.ties |= tieSetting
		texts = nil
	}
	switch {
	case !u.failed && u.committed || t.status == 'I' && !u.failed && !u.undone:
		if t.settings.apply(texts) {
			t.ties |= tieSetting
		}
	case t.status == 'I':
		t.settings.drop()
	default:
		if t.settings.wait(texts, u.undone) {
			t.ties |= tieSetting
		}
	}
	*u = unit{texts: u.texts[:0]}
}

// complete takes in the tag of a command that was done.
func (t *tracker) complete(tag []byte) {
	u := &t.unit
	u.tags++
	if len(tag) == 0 {
		return
	}
	switch tag[0] { // most are none of these
	case 'S', 'R', 'L', 'U', 'P', 'D', 'C':
	default:
		return
	}
	switch string(tag) {
	case "SET", "RESET":
		u.sets++
	case "COMMIT":
		u.committed = true
	case "ROLLBACK":
		u.undone = true
	case "LISTEN":
		t.ties |= tieListen
	case "PREPARE":
		t.ties |= tiePrepare
	case "LOAD":
		t.ties |= tieLoad
	case "UNLISTEN":
		if strings.HasSuffix(strings.TrimRight(t.told(), "; \n"), "*") {
			t.untie(tieListen)
		}
	case "DEALLOCATE":
		words := strings.Fields(t.told())
		if n := len(words); n > 1 { // else it is kept for nothing
			t.deallocate(strings.Trim(words[n-1], `";`))
		}
	case "DEALLOCATE ALL":
		t.untie(tiePrepare)
		t.statements, t.kept = nil, 0
	case "DISCARD ALL":
		t.untie(discardable)
		t.statements, t.kept, t.settings = nil, 0, settings{}
		t.unnamed = t.unnamed[:0]
	case "DISCARD TEMP":
		t.untie(tieTemporary)
	}
}

// told is the text of the command at work, where it is one of few.
func (t *tracker) told() string {
	if t.unit.other != "" {
		return t.unit.other
	}
	if t.head < len(t.queue) {
		return t.queue[t.head].text
	}
	return ""
}

// reset is for another server: what it is told anew begins anew.
func (t *tracker) reset(parameters map[string]string) {
	t.status = 'I'
	t.forget()
	t.parameters = maps.Clone(parameters)
}
