// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// results are PASS, FAIL or SKIP by test.
type results map[string]string

var resultLine = regexp.MustCompile(`(?m)^\s*--- (PASS|FAIL|SKIP): (\S+)`)

// parse reads the output of a test program; tests within tests are left out.
// Those that were running when the time was up are failures.
func parse(output []byte) results {
	r := results{}
	for _, m := range resultLine.FindAllSubmatch(output, -1) {
		if !bytes.Contains(m[2], []byte("/")) {
			r[string(m[2])] = string(m[1])
		}
	}
	if _, running, ok := bytes.Cut(output, []byte("running tests:\n")); ok {
		for line := range strings.Lines(string(running)) {
			name, _, ok := strings.Cut(strings.TrimSpace(line), " (")
			if !ok || !strings.HasPrefix(name, "Test") {
				break
			}
			if name, _, _ = strings.Cut(name, "/"); r[name] == "" {
				r[name] = "FAIL"
			}
		}
	}
	return r
}

func (r results) count(what string) int {
	n := 0
	for _, v := range r {
		if v == what {
			n++
		}
	}
	return n
}

func (r results) summary() string {
	return fmt.Sprintf("%d pass, %d fail, %d skip", r.count("PASS"), r.count("FAIL"), r.count("SKIP"))
}

// reasonsText has a line per test that does not pass everywhere: name, reason.
// A name after "-" is not run, after "-LABEL:" not with that runtime: it would
// never end.
//
//go:embed reasons.txt
var reasonsText string

// reasons are those of reasonsText, by test.
func reasons() map[string]string {
	m := map[string]string{}
	eachReason(func(name, _, reason string) { m[name] = reason })
	return m
}

// skipped is an expression for what is not run with a runtime.
func skipped(label string) string {
	list := []string{"$^"} // nothing
	eachReason(func(name, without, _ string) {
		if without == "*" || without == label {
			list = append(list, "^"+name+"$")
		}
	})
	return strings.Join(list, "|")
}

func eachReason(f func(name, without, reason string)) {
	for line := range strings.Lines(reasonsText) {
		name, reason, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		without := ""
		if rest, ok := strings.CutPrefix(name, "-"); ok {
			name, without = rest, "*"
			if label, rest, ok := strings.Cut(name, ":"); ok {
				name, without = rest, label
			}
		}
		f(name, without, strings.TrimSpace(reason))
	}
}

// report is the table of all tests that do not pass with every runtime, and the
// names of those that need a reason and have none.
func report(labels []string, all map[string]results) (table string, unexplained []string, err error) {
	names := map[string]bool{}
	for _, r := range all {
		for n := range r {
			names[n] = true
		}
	}
	why := reasons()
	eachReason(func(name, without, _ string) {
		if without != "" {
			names[name] = true
		}
	})
	var b strings.Builder
	b.WriteString("<!-- SPDX-License-Identifier: Apache-2.0 -->\n# containerd's client integration tests\n\n")
	b.WriteString("`go run ./integration/client-suite` runs them and writes this table. Tests that pass everywhere are only counted.\n\n| |")
	for _, l := range labels {
		b.WriteString(" " + l + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(labels)) + "\n")
	for _, what := range []string{"PASS", "FAIL", "SKIP"} {
		fmt.Fprintf(&b, "| %s |", strings.ToLower(what))
		for _, l := range labels {
			fmt.Fprintf(&b, " %d |", all[l].count(what))
		}
		b.WriteString("\n")
	}
	b.WriteString("\n| test |" + " " + strings.Join(labels, " | ") + " | reason |\n|---|" + strings.Repeat("---|", len(labels)) + "---|\n")
	for _, n := range sorted(names) {
		same := true
		line := "| " + n + " |"
		for _, l := range labels {
			v := all[l][n]
			same = same && v == "PASS"
			if v == "" {
				v = "not run"
			}
			line += " " + strings.ToLower(v) + " |"
		}
		if same {
			continue
		}
		b.WriteString(line + " " + why[n] + " |\n")
		if why[n] == "" && all["runc"][n] == "PASS" && all["cell"] != nil {
			unexplained = append(unexplained, n)
		}
	}
	return b.String(), unexplained, nil
}

func sorted(set map[string]bool) []string {
	var list []string
	for n := range set {
		list = append(list, n)
	}
	slices.Sort(list)
	return list
}
