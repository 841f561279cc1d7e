// SPDX-License-Identifier: Apache-2.0

package process

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table in docs/jail.md anew")

// TestJailDocument keeps the table in the document equal to the allow-list.
func TestJailDocument(t *testing.T) {
	const file = "../../docs/jail.md"
	const begin, end = "<!-- allow-list: begin -->\n", "<!-- allow-list: end -->\n"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(b), begin)
	table, tail, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the table", file)
	}
	var want strings.Builder
	want.WriteString("| call | with | because |\n|---|---|---|\n")
	for _, r := range allowList {
		fmt.Fprintf(&want, "| `%s` | %s | %s |\n", r.name, r.args, r.why)
	}
	if table == want.String() {
		return
	}
	if !*update {
		t.Fatalf("the table in %s is not that of allowlist.go: run go test ./vmm/process -run JailDocument -update", file)
	}
	if err := os.WriteFile(file, []byte(head+begin+want.String()+end+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}
