package pgproxy

import "bytes"

// words reads the text of statements, in as many pieces as it comes in, for what ties a session to its server. It knows
// words, literals, quoted names and comments, and no grammar: in doubt a session is tied.
type words struct {
	word   [32]byte
	n      int // length of the word so far
	quote  byte
	escape bool // the literal has backslashes that quote
	skip   bool // the next byte is quoted by one
	last   byte // the byte before, outside of words
	remark int  // depth of /* */; -1 until the line ends

	before [2]string // the words before, the newest first
	begins bool      // a statement begins

	first   string // the first word of all; empty before
	sets    int    // settings that outlive their transaction
	configs int    // calls of set_config that may do so
	call    call   // of set_config, that is being read
	ties    ties
}

// A call is what is known of a call of set_config: it ends with its transaction where its third argument is the word true and
// nothing else.
type call struct {
	named bool // its parenthesis comes next
	depth int  // of parentheses; 0 outside of a call
	comma int  // so many at depth 1
	alone bool // the argument is the word true so far
	other bool // it is, or has, something else
	doubt bool // it has what is not understood, or another call
}

func (w *words) reset() { *w = words{begins: true} }

// read takes the next piece.
func (w *words) read(text []byte) {
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case w.remark < 0:
			end := bytes.IndexByte(text[i:], '\n')
			if end < 0 {
				return
			}
			i += end
			w.remark, w.last = 0, '\n'
		case w.remark > 0:
			switch {
			case w.last == '*' && c == '/':
				w.remark--
				c = 0
			case w.last == '/' && c == '*':
				w.remark++
				c = 0
			}
			w.last = c
		case w.quote != 0:
			if w.skip {
				w.skip = false
				continue
			}
			switch {
			case c == '\\' && w.escape:
				w.skip = true
			case c == w.quote: // doubled, it ends and begins again
				w.quote, w.last = 0, c
			case !w.escape:
				if end := bytes.IndexByte(text[i:], w.quote); end > 0 {
					i += end - 1
				} else if end < 0 {
					return
				}
			}
		default:
			w.plain(c)
		}
	}
}

// plain takes a byte outside of literals and remarks.
func (w *words) plain(c byte) {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	if w.call.depth > 0 && w.last == '$' && (c < '0' || c > '9') {
		w.call.doubt = true // a literal between dollars
	}
	if c >= 'a' && c <= 'z' || c == '_' || c >= '0' && c <= '9' || c >= 0x80 {
		if w.n < len(w.word) {
			w.word[w.n] = c
		}
		w.n++
		w.last = 0
		return
	}
	escape := w.n == 1 && w.word[0] == 'e'
	w.end()
	w.call.plain(c, &w.configs)
	switch {
	case c == '\'' || c == '"':
		w.quote, w.escape = c, escape && c == '\''
	case c == '-' && w.last == '-':
		w.remark = -1
	case c == '*' && w.last == '/':
		w.remark, c = 1, 0
	case c == ';':
		w.begins, w.before, w.call = true, [2]string{}, call{}
	}
	w.last = c
}

// plain takes a byte that is of no word, and the call off the count at its end where it ends with its transaction.
func (k *call) plain(c byte, configs *int) {
	switch {
	case k.depth == 0 && !k.named || c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' || c == '\v':
		return
	case c == '(':
		k.other = k.depth > 0
		k.depth++
	case k.depth == 0:
	case c == ')' && k.depth == 1:
		if k.comma == 2 && k.alone && !k.other && !k.doubt {
			*configs--
		}
		*k = call{}
	case c == ')':
		k.depth--
		k.other = true
	case c == ',' && k.depth == 1:
		k.comma++
		k.alone, k.other = false, false
	default:
		k.other = true
	}
	k.named = false
}

// word takes a word.
func (k *call) word(known string) {
	switch {
	case known == "set_config" && k.depth == 0:
		*k = call{named: true}
		return
	case known == "set_config":
		k.doubt = true
	case known == "true" && !k.alone:
		k.alone = true
	default:
		k.other = true
	}
	k.named = false
}

// end ends a word, and the text where nothing comes any more.
func (w *words) end() {
	if w.n == 0 {
		return
	}
	known := known(w.word[:min(w.n, len(w.word))])
	w.n = 0
	if w.first == "" {
		w.first = known
	}
	w.call.word(known)
	switch known {
	case "pg_advisory_lock", "pg_advisory_lock_shared", "pg_try_advisory_lock", "pg_try_advisory_lock_shared":
		w.ties |= tieAdvisory
	case "temp", "temporary":
		switch w.before[0] {
		case "create", "local", "global", "replace":
			w.ties |= tieTemporary
		case "into":
			if w.before[1] != "insert" && w.before[1] != "merge" {
				w.ties |= tieTemporary
			}
		}
	case "pg_temp":
		w.ties |= tieTemporary
	case "hold":
		if w.before[0] == "with" {
			w.ties |= tieCursor
		}
	case "set_config":
		w.configs++
	case "local", "transaction", "constraints":
		if w.before[0] == "set" && w.sets > 0 {
			w.sets--
		}
	case "set", "reset":
		if w.begins {
			w.sets++
		}
	}
	w.before[1], w.before[0] = w.before[0], known
	w.begins = false
}

// known returns the constant of a word that matters, and "-" for the others.
func known(word []byte) string {
	if len(word) > 2 {
		if w, ok := vocabulary[string(word)]; ok {
			return w
		}
	}
	return "-"
}

var vocabulary = func() map[string]string {
	m := map[string]string{}
	for _, w := range []string{
		"pg_advisory_lock", "pg_advisory_lock_shared", "pg_try_advisory_lock", "pg_try_advisory_lock_shared",
		"temp", "temporary", "pg_temp", "hold", "with", "create", "local", "global", "replace", "into", "insert", "merge",
		"set", "reset", "set_config", "true", "transaction", "constraints", "all", "unlisten", "deallocate", "discard",
	} {
		m[w] = w
	}
	return m
}()

// telling says that the text itself is needed later.
func (w *words) telling() bool {
	switch w.first {
	case "set", "reset", "unlisten", "deallocate", "discard":
		return true
	}
	return false
}
