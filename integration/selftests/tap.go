// SPDX-License-Identifier: Apache-2.0

package selftests

import (
	"regexp"
	"strings"
)

// passes counts, per program and test, how often the test passed. The exit
// status 0 of a program counts as a test "status".
type passes map[string]map[string]int

var (
	header  = regexp.MustCompile(`^@@@ (\S+) (\d+)$`)
	tapOK   = regexp.MustCompile(`^\s*ok \d+\s*(?:- )?(.*)$`)
	x86OK   = regexp.MustCompile(`^\[OK\]\s*(.*)$`)
	skipped = regexp.MustCompile(`# (SKIP|XFAIL)`)
	number  = regexp.MustCompile(`0x[0-9a-fA-F]+|\b[0-9a-f]{8,}\b|-?\d+(\.\d+)?`)
)

// parse reads the output of the script that runs the programs: before the
// output of each comes a line of its name and exit status.
func parse(output string) passes {
	all := passes{}
	var tests map[string]int
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\r\n")
		if m := header.FindStringSubmatch(line); m != nil {
			tests = map[string]int{}
			all[m[1]] = tests
			if m[2] == "0" {
				tests["status"] = 1
			}
			continue
		}
		m := tapOK.FindStringSubmatch(line)
		if m == nil {
			m = x86OK.FindStringSubmatch(line)
		}
		if m != nil && tests != nil && !skipped.MatchString(line) {
			// Addresses, times and process numbers are different every time.
			tests[strings.Join(strings.Fields(number.ReplaceAllString(m[1], "N")), " ")]++
		}
	}
	return all
}
