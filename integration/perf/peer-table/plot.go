// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
)

// Places of a plot, in its own units.
const (
	plotWidth   = 720
	plotLabels  = 190
	plotBar     = 16
	plotRow     = 24
	plotHead    = 34
	plotNumbers = 60
)

var plotColours = []string{"#2563a8", "#8a8f98", "#c47a2c", "#4c9161"}

// plot draws bars of the medians; a thin line on a time spans its quartiles.
func plot(w io.Writer, peers []*peer) {
	type bar struct{ value, low, high float64 }
	panels := []struct {
		title, unit string
		of          func(p *peer) bar
	}{
		{"ctr run --rm of busybox true", "ms", func(p *peer) bar {
			n := len(p.times)
			return bar{milliseconds(median(p.times)), milliseconds(p.times[n/4]), milliseconds(p.times[n*3/4])}
		}},
		{"memory of everything serving one idle container", "MB", func(p *peer) bar {
			m := megabytes(median(p.memory[1]))
			return bar{m, m, m}
		}},
		{"memory for each of five idle containers", "MB", func(p *peer) bar {
			m := megabytes(median(p.memory[5]))
			return bar{m, m, m}
		}},
	}
	panelHeight := plotHead + plotRow*len(peers)
	height := panelHeight*len(panels) + 16
	fmt.Fprintf(w, "<!-- SPDX-License-Identifier: Apache-2.0 -->\n")
	fmt.Fprintf(w, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"13\">\n", plotWidth, height)
	fmt.Fprintf(w, "<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n", plotWidth, height)
	for n, panel := range panels {
		top := n * panelHeight
		most := 0.0
		for _, p := range peers {
			most = max(most, panel.of(p).high)
		}
		scale := float64(plotWidth-plotLabels-plotNumbers-12) / most
		fmt.Fprintf(w, "<text x=\"12\" y=\"%d\" font-weight=\"bold\">%s, %s</text>\n", top+22, panel.title, panel.unit)
		for i, p := range peers {
			b, y := panel.of(p), top+plotHead+plotRow*i
			fmt.Fprintf(w, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", plotLabels-8, y+13, p.name)
			fmt.Fprintf(w, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n", plotLabels, y, b.value*scale, plotBar, plotColours[i%len(plotColours)])
			if b.high > b.low {
				fmt.Fprintf(w, "<path d=\"M%.1f %dH%.1f\" stroke=\"#111111\"/>\n", plotLabels+b.low*scale, y+plotBar/2, plotLabels+b.high*scale)
			}
			fmt.Fprintf(w, "<text x=\"%.1f\" y=\"%d\">%.*f</text>\n", plotLabels+b.high*scale+6, y+13, digits(b.value), b.value)
		}
	}
	fmt.Fprintln(w, "</svg>")
}

func digits(v float64) int {
	if v < 100 {
		return 1
	}
	return 0
}
