package cli

import (
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// style says how to write for the reader at the other end.
type style struct {
	colour   bool
	terminal bool
}

// styleOf finds out: colours only on a terminal that knows them, and only where NO_COLOR is not set (no-color.org).
func styleOf(out io.Writer, getenv func(string) string) style {
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return style{}
	}
	return style{terminal: true, colour: getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"}
}

// Colours, as SGR codes.
const (
	plain  = ""
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (s style) paint(code, text string) string {
	if !s.colour || code == plain {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// clear empties the screen of a terminal.
const clear = "\x1b[H\x1b[2J\x1b[3J"

// column is one column of a table.
type column struct {
	title string
	right bool // numbers stand right
}

// field is one place in a table.
type field struct {
	text   string
	colour string
}

// table writes rows under their titles, as wide as they need to be; the last column is not padded.
func (s style) table(columns []column, rows [][]field) string {
	widths := make([]int, len(columns))
	for i, c := range columns {
		widths[i] = utf8.RuneCountInString(c.title)
		for _, r := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(r[i].text))
		}
	}
	var b strings.Builder
	write := func(row []field) {
		var line strings.Builder
		for i, f := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(f.text))
			switch {
			case columns[i].right:
				line.WriteString(pad + s.paint(f.colour, f.text))
			case i == len(row)-1:
				line.WriteString(s.paint(f.colour, f.text))
			default:
				line.WriteString(s.paint(f.colour, f.text) + pad)
			}
			if i < len(row)-1 {
				line.WriteString("  ")
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	titles := make([]field, len(columns))
	for i, c := range columns {
		titles[i] = field{c.title, dim}
	}
	write(titles)
	for _, r := range rows {
		write(r)
	}
	return b.String()
}
