// SPDX-License-Identifier: Apache-2.0

package figures

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// Line is one line of a plot.
type Line struct {
	Name   string
	X, Y   []float64
	Dashed bool
}

// Plot is a diagram of lines over a common axis.
type Plot struct {
	Title, XLabel, YLabel string
	Lines                 []Line
}

// Size of a plot and its margins, in pixels.
const (
	plotWidth, plotHeight = 960, 480
	marginLeft            = 70
	marginRight           = 20
	marginTop             = 40
	marginBottom          = 50
)

// colours that can be told apart also by people who see few of them (Okabe, Ito).
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"}

// WriteSVG draws the plot.
func (p *Plot) WriteSVG(w io.Writer) error {
	xMin, xMax, yMax := math.Inf(1), math.Inf(-1), 0.0
	for _, l := range p.Lines {
		for i, x := range l.X {
			xMin, xMax, yMax = min(xMin, x), max(xMax, x), max(yMax, l.Y[i])
		}
	}
	if !(xMax > xMin) {
		xMin, xMax = 0, 1
	}
	if yMax == 0 {
		yMax = 1
	}
	yMax *= 1.05
	px := func(x float64) float64 {
		return marginLeft + (x-xMin)/(xMax-xMin)*(plotWidth-marginLeft-marginRight)
	}
	py := func(y float64) float64 {
		return plotHeight - marginBottom - y/yMax*(plotHeight-marginTop-marginBottom)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<text x="%d" y="22" font-size="15">%s</text>`+"\n", marginLeft, html.EscapeString(p.Title))
	for _, x := range ticks(xMin, xMax, 10) {
		fmt.Fprintf(&b, `<path d="M%.1f %d V%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			px(x), marginTop, plotHeight-marginBottom, px(x), plotHeight-marginBottom+18, number(x))
	}
	for _, y := range ticks(0, yMax, 8) {
		fmt.Fprintf(&b, `<path d="M%d %.1f H%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			marginLeft, py(y), plotWidth-marginRight, marginLeft-6, py(y)+4, number(y))
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", plotWidth/2, plotHeight-12, html.EscapeString(p.XLabel))
	fmt.Fprintf(&b, `<text x="16" y="%d" text-anchor="middle" transform="rotate(-90 16 %[1]d)">%s</text>`+"\n", plotHeight/2, html.EscapeString(p.YLabel))
	for i, l := range p.Lines {
		colour, dash := colours[i%len(colours)], ""
		if l.Dashed {
			dash = ` stroke-dasharray="5 3"`
		}
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="1.5"%s points="`, colour, dash)
		lastX, lastY := math.Inf(-1), 0.0
		for j, x := range l.X {
			// Points that nobody can tell apart would make large files.
			X, Y := px(x), py(l.Y[j])
			if j < len(l.X)-1 && X-lastX < 1 && math.Abs(Y-lastY) < 1 {
				continue
			}
			lastX, lastY = X, Y
			fmt.Fprintf(&b, "%.1f,%.1f ", X, Y)
		}
		b.WriteString(`"/>` + "\n")
		y := marginTop + 16*(i+1)
		fmt.Fprintf(&b, `<path d="M%d %d h24" stroke="%s" stroke-width="2"%s/><text x="%d" y="%d">%s</text>`+"\n",
			plotWidth-200, y, colour, dash, plotWidth-170, y+4, html.EscapeString(l.Name))
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// ticks are round numbers in [from, to], about n of them.
func ticks(from, to float64, n int) []float64 {
	raw := (to - from) / float64(n)
	step := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 5, 10} {
		if step*m >= raw {
			step *= m
			break
		}
	}
	var out []float64
	for v := math.Ceil(from/step) * step; v <= to+step/1e6; v += step {
		out = append(out, v)
	}
	return out
}

func number(v float64) string { return fmt.Sprintf("%.6g", v+0) }

// Memory is the plot of a time series: what is resident and, where it is known,
// in use, for each cell.
func Memory(samples []Sample) *Plot {
	p := &Plot{Title: "Memory of cells", XLabel: "seconds", YLabel: "MiB"}
	lines := map[string]*Line{}
	var order []string
	for _, s := range samples {
		x := s.Time.Sub(samples[0].Time).Seconds()
		add := func(what string, bytes uint64, dashed bool) {
			name := fmt.Sprintf("%s (%d) %s", s.Cell, s.Pid, what)
			if lines[name] == nil {
				lines[name] = &Line{Name: name, Dashed: dashed}
				order = append(order, name)
			}
			l := lines[name]
			l.X, l.Y = append(l.X, x), append(l.Y, float64(bytes)/(1<<20))
		}
		add("resident", s.Resident, false)
		if s.Used > 0 {
			add("used", s.Used, true)
		}
	}
	for _, name := range order {
		p.Lines = append(p.Lines, *lines[name])
	}
	return p
}
