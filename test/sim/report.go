package sim

import (
	"fmt"
	"strings"
	"time"
)

// Section is what a scenario has to show.
type Section struct {
	Title string
	Text  string // what was done, and what is to be seen
	Table Table
	Plots map[string]Plot // by file name
	Order []string        // of the plots
}

// Table is rows under a heading.
type Table struct {
	Heading []string
	Rows    [][]string
}

// Add adds a row. Durations and shares are written as people read them.
func (t *Table) Add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = cell(c)
	}
	t.Rows = append(t.Rows, row)
}

// Share is a number to be written as a percentage.
type Share float64

func cell(c any) string {
	switch c := c.(type) {
	case time.Duration:
		switch {
		case c == 0:
			return "–"
		case c < time.Second:
			return fmt.Sprintf("%.0f ms", c.Seconds()*1000)
		}
		return fmt.Sprintf("%.1f s", c.Seconds())
	case Share:
		return fmt.Sprintf("%.1f %%", 100*float64(c))
	case float64:
		if c < 10 {
			return fmt.Sprintf("%.2f", c)
		}
		return fmt.Sprintf("%.0f", c)
	}
	return fmt.Sprint(c)
}

// Markdown writes the section.
func (s Section) Markdown(images string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n%s\n\n", s.Title, strings.TrimSpace(s.Text))
	for _, name := range s.Order {
		fmt.Fprintf(&b, "![%s](%s/%s)\n\n", s.Plots[name].Title, images, name)
	}
	fmt.Fprintf(&b, "| %s |\n|---%s|\n", strings.Join(s.Table.Heading, " | "), strings.Repeat("|---:", len(s.Table.Heading)-1))
	for _, row := range s.Table.Rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
	}
	return b.String() + "\n"
}
