package pgproxy

import (
	"bytes"
	"strings"
)

// unit is what ReadyForQuery ends, as far as it was answered.
type unit struct {
	tags, sets        int
	answered          int      // messages of the extended protocol
	texts             []string // of settings
	other             string   // of the newest DEALLOCATE or UNLISTEN
	failed            bool
	committed, undone bool
}

// server takes in a part of a message on its way to the client.
func (t *tracker) server(p *part) {
	if !p.first {
		return
	}
	switch p.kind {
	case '1', '2', '3', 'C', 'I', 'T', 'n', 's':
		t.unit.answered++
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
		t.skip()
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

// skip takes away what the server passes over because a message of the extended protocol has failed: each Query up to the next
// Sync.
func (t *tracker) skip() {
	first := true
	for i := t.head; i < len(t.queue); i++ {
		switch it := &t.queue[i]; it.kind {
		case 'S':
			return
		case 'Q', 'F':
			if first && it.behind <= t.unit.answered {
				return // it is what has failed
			}
			first = false
			it.kind = 0
			t.work--
		}
	}
	t.open = t.open || !first
	t.skips = t.open
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
		if name := deallocated(t.told()); name != "" { // else it is kept for nothing
			t.deallocate(name)
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

// deallocated is the name in a DEALLOCATE as the server reads it, quoted or in small letters; empty where that cannot be told.
func deallocated(text string) string {
	if before, quoted, ok := strings.Cut(strings.TrimRight(text, "; \t\r\n"), `"`); ok {
		name, closed := strings.CutSuffix(quoted, `"`)
		if n := len(strings.Fields(before)); !closed || n == 0 || n > 2 || strings.Contains(strings.ReplaceAll(name, `""`, ""), `"`) {
			return ""
		}
		return strings.ReplaceAll(name, `""`, `"`)
	}
	words := strings.Fields(strings.TrimRight(text, "; \t\r\n"))
	if n := len(words); n == 2 || n == 3 && strings.EqualFold(words[1], "prepare") {
		return strings.Map(func(r rune) rune { // the server folds no other letters in a database of several bytes a letter
			if r >= 'A' && r <= 'Z' {
				r += 'a' - 'A'
			}
			return r
		}, words[n-1])
	}
	return ""
}

// untie lets go of what a command has ended. What stands in requests behind it is still to come.
func (t *tracker) untie(ended ties) {
	t.ties &^= ended
	for i := t.head; i < len(t.queue); i++ {
		t.ties |= t.queue[i].ties
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
