// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fake returns a side that prints the next of the given reports on every run.
func fake(t *testing.T, name string, reports ...string) side {
	t.Helper()
	dir := t.TempDir()
	for i, r := range reports {
		if err := os.WriteFile(filepath.Join(dir, string(rune('0'+i))), []byte(r), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	script := `n=$(cat "$0/n" 2>/dev/null || echo 0); echo $((n + 1)) >"$0/n"; cat "$0/$n"`
	return side{name, []string{"sh", "-c", script, dir}}
}

func report(pairs ...string) string {
	var results []string
	for i := 0; i < len(pairs); i += 2 {
		results = append(results, `{"name": "`+pairs[i]+`", "unit": "ns", "median": `+pairs[i+1]+`}`)
	}
	return `{"rounds": 1, "results": [` + strings.Join(results, ",") + `]}` + "\n"
}

func TestCompare(t *testing.T) {
	sides := []side{
		fake(t, "host",
			report("getpid_raw", "100", "fork_exec", "900"),
			report("getpid_raw", "300", "fork_exec", "1000"),
			report("getpid_raw", "110", "fork_exec", "1100")),
		fake(t, "cell",
			"a line of the console\n"+report("getpid_gate", "60", "getpid_raw", "700", "fork_exec", "2500"),
			report("getpid_gate", "66", "getpid_raw", "770", "fork_exec", "2500")+"\x00trailing",
			report("getpid_gate", "99", "getpid_raw", "800", "fork_exec", "2500")),
	}
	rows, err := compare(t.Context(), 3, sides)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	missed := table(&text, rows, sides)
	if got := strings.Join(missed, " "); got != "fork_exec" {
		t.Errorf("missed %q", got)
	}
	const want = `| | host | cell | ratio | target |
|---|---|---|---|---|
| getpid raw | 110 ns | 770 ns | 7.00 | 8.0 |
| fork exec | 1.00 us | 2.50 us | 2.50 | 2.0 missed |
| getpid gate | | 66 ns | 0.60 | 0.7 |
`
	if text.String() != want {
		t.Errorf("table:\n%swant:\n%s", text.String(), want)
	}
}

func TestCompareReportsFailure(t *testing.T) {
	for name, s := range map[string]side{
		"status":  {"host", []string{"sh", "-c", "echo broken >&2; exit 3"}},
		"nothing": {"host", []string{"true"}},
		"garbage": {"host", []string{"echo", `{"rounds": oops`}},
	} {
		if _, err := compare(t.Context(), 1, []side{s}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
