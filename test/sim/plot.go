package sim

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Plot is lines over time.
type Plot struct {
	Title  string  // what the picture shows, for those who cannot see it too
	Y      string  // what is measured, with its unit
	Step   float64 // seconds between values
	Lines  []Line
	Levels []Level
	Spans  []Span
	Log    bool // a logarithmic axis
}

// Line is one series of values. Where a value is 0 on a logarithmic axis, or not a number, the line has a gap.
type Line struct {
	Name   string
	Values []float64
}

// Level is a horizontal line.
type Level struct {
	Name  string
	Value float64
}

// Span is a time in which something is the matter, in seconds.
type Span struct {
	Name     string
	From, To float64
}

const (
	width, height         = 760.0, 314.0
	left, right           = 64.0, 16.0
	top, bottom           = 48.0, 70.0
	inWidth, inHeight     = width - left - right, height - top - bottom
	legendStep, legendRow = 232.0, 16.0
)

// The colours are those of text on the ground they stand on, in light and in dark; lines differ by their dashes as well.
const style = `<style>
text{font:12px system-ui,sans-serif;fill:#374151}
.title{font-weight:600;fill:#111827}
.ground{fill:#ffffff}
.axis{stroke:#9ca3af}
.grid{stroke:#e5e7eb}
.level{stroke:#6b7280;stroke-dasharray:2 4}
.span{fill:#fde68a;opacity:.45}
.line{fill:none;stroke-width:2;stroke-linejoin:round}
.l0{stroke:#2563eb}.l1{stroke:#c2410c;stroke-dasharray:7 3}.l2{stroke:#15803d}.l3{stroke:#7e22ce;stroke-dasharray:2 3}.l4{stroke:#64748b;stroke-dasharray:9 3 2 3}
@media (prefers-color-scheme:dark){
text{fill:#d1d5db}.title{fill:#f3f4f6}.ground{fill:#111827}.axis{stroke:#6b7280}.grid{stroke:#374151}.level{stroke:#9ca3af}.span{fill:#854d0e}
.l0{stroke:#60a5fa}.l1{stroke:#fb923c}.l2{stroke:#4ade80}.l3{stroke:#c084fc}.l4{stroke:#94a3b8}
}
</style>
`

// SVG draws the plot.
func (p Plot) SVG() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" role="img" aria-label="%s">`+"\n", width, height, html.EscapeString(p.Title))
	b.WriteString(style)
	fmt.Fprintf(&b, "<rect class=\"ground\" width=\"%g\" height=\"%g\" rx=\"6\"/>\n", width, height)
	text(&b, left, 20, "start", "title", p.Title)
	a := p.axes()
	for _, s := range p.Spans {
		fmt.Fprintf(&b, "<rect class=\"span\" x=\"%.1f\" y=\"%g\" width=\"%.1f\" height=\"%g\"/>\n", a.x(s.From), top, a.x(s.To)-a.x(s.From), inHeight)
		text(&b, (a.x(s.From)+a.x(s.To))/2, top-5, "middle", "", s.Name)
	}
	p.drawAxes(&b, a)
	for _, l := range p.Levels {
		fmt.Fprintf(&b, "<line class=\"level\" x1=\"%g\" x2=\"%g\" y1=\"%.1f\" y2=\"%.1f\"/>\n", left, width-right, a.y(l.Value), a.y(l.Value))
		text(&b, width-right-4, a.y(l.Value)-4, "end", "", l.Name)
	}
	for i, l := range p.Lines {
		fmt.Fprintf(&b, "<path class=\"line l%d\" d=\"%s\"/>\n", i%5, p.path(l.Values, a))
		x, y := left+float64(i%3)*legendStep, height-24+float64(i/3)*legendRow
		fmt.Fprintf(&b, "<line class=\"line l%d\" x1=\"%.0f\" x2=\"%.0f\" y1=\"%.0f\" y2=\"%.0f\"/>\n", i%5, x, x+22, y, y)
		text(&b, x+28, y+4, "start", "", l.Name)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (p Plot) path(values []float64, a axes) string {
	var d strings.Builder
	pen := "M"
	for i, v := range values {
		if math.IsNaN(v) || (p.Log && v <= 0) {
			pen = "M"
			continue
		}
		fmt.Fprintf(&d, "%s%.1f %.1f", pen, a.x((float64(i)+0.5)*p.Step), a.y(v))
		pen = "L"
	}
	return d.String()
}

func text(b *strings.Builder, x, y float64, anchor, class, s string) {
	if class != "" {
		class = ` class="` + class + `"`
	}
	fmt.Fprintf(b, "<text%s x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", class, x, y, anchor, html.EscapeString(s))
}
