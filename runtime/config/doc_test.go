// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestDocumentedKeys compares the table of docs/config.md with the keys.
func TestDocumentedKeys(t *testing.T) {
	b, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "<!-- keys: begin -->\n")
	table, _, ok := strings.Cut(rest, "<!-- keys: end -->")
	if !ok {
		t.Fatal("docs/config.md has no table of keys")
	}
	var want strings.Builder
	want.WriteString("| key | type | values | default | by annotation | |\n|---|---|---|---|---|---|\n")
	honour := map[Honour]string{HonourDefault: "by default", HonourListed: "if listed", HonourNever: "never"}
	for _, k := range keys {
		fmt.Fprintf(&want, "| `%s` | %s | %s | `%s` | %s | %s |\n",
			k.Name, k.Kind, k.Values, k.toTOML(k.get(Defaults())), honour[k.Annotation], k.Help)
	}
	if table != want.String() {
		t.Errorf("docs/config.md has\n%s\nit has to be\n%s", table, want.String())
	}
}
