package sim

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// axes maps seconds and values to the picture.
type axes struct {
	seconds, low, high float64
	log                bool
	ticks              []float64
}

func (a axes) x(seconds float64) float64 { return left + inWidth*seconds/a.seconds }

func (a axes) y(v float64) float64 {
	share := (v - a.low) / (a.high - a.low)
	if a.log {
		share = math.Log(max(v, a.low)/a.low) / math.Log(a.high/a.low)
	}
	return top + inHeight*(1-min(share, 1.02))
}

func (p Plot) axes() axes {
	a := axes{log: p.Log}
	least := math.Inf(1)
	for _, l := range p.Lines {
		a.seconds = max(a.seconds, float64(len(l.Values))*p.Step)
		for _, v := range l.Values {
			if !math.IsNaN(v) && v > 0 {
				a.high, least = max(a.high, v), min(least, v)
			}
		}
	}
	for _, l := range p.Levels {
		a.high, least = max(a.high, l.Value), min(least, l.Value)
	}
	if p.Log {
		a.low = math.Pow(10, math.Floor(math.Log10(least)))
		a.high = math.Pow(10, math.Ceil(math.Log10(a.high)))
		for t := a.low; t <= a.high*1.001; t *= 10 {
			a.ticks = append(a.ticks, t)
		}
		return a
	}
	step := round(a.high / 5)
	a.high = step * math.Ceil(a.high/step)
	for i := 0.0; i*step <= a.high; i++ {
		a.ticks = append(a.ticks, i*step)
	}
	return a
}

// round is the next larger of 1, 2 and 5 times a power of ten.
func round(x float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(x)))
	for _, n := range []float64{1, 2, 5} {
		if n*unit >= x {
			return n * unit
		}
	}
	return 10 * unit
}

func (p Plot) drawAxes(b *strings.Builder, a axes) {
	for _, t := range a.ticks {
		fmt.Fprintf(b, "<line class=\"grid\" x1=\"%g\" x2=\"%g\" y1=\"%.1f\" y2=\"%.1f\"/>\n", left, width-right, a.y(t), a.y(t))
		text(b, left-6, a.y(t)+4, "end", "", strconv.FormatFloat(t, 'g', 6, 64))
	}
	step := round(a.seconds / 12)
	for s := 0.0; s <= a.seconds; s += step {
		fmt.Fprintf(b, "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%g\" y2=\"%g\"/>\n", a.x(s), a.x(s), top+inHeight, top+inHeight+4)
		text(b, a.x(s), top+inHeight+17, "middle", "", strconv.FormatFloat(s, 'g', 6, 64))
	}
	fmt.Fprintf(b, "<path class=\"axis\" fill=\"none\" d=\"M%g %gV%gH%g\"/>\n", left, top, top+inHeight, width-right)
	text(b, left+inWidth/2, top+inHeight+32, "middle", "", "seconds")
	fmt.Fprintf(b, "<text transform=\"translate(16 %g) rotate(-90)\" text-anchor=\"middle\">%s</text>\n", top+inHeight/2, html.EscapeString(p.Y))
}
