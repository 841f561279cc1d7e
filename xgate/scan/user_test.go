// SPDX-License-Identifier: Apache-2.0

package scan

import (
	"os"
	"regexp"
	"strconv"
	"testing"
)

// TestUserVectors tries the examples that the guest kernel's own search is
// tried on as well (integration/attack/programs/scan_vectors.c). The kernel
// leaves out xrstors, which faults in ring 3.
func TestUserVectors(t *testing.T) {
	text, err := os.ReadFile("testdata/user.inc")
	if err != nil {
		t.Fatal(err)
	}
	vectors := regexp.MustCompile(`(?m)^VECTOR\(("[^"]*"), ("[^"]*"), (\d+)\)$`).FindAllStringSubmatch(string(text), -1)
	if len(vectors) < 20 {
		t.Fatalf("%d vectors", len(vectors))
	}
	for _, v := range vectors {
		name, err1 := strconv.Unquote(v[1])
		code, err2 := strconv.Unquote(v[2])
		want, err3 := strconv.Atoi(v[3])
		if err1 != nil || err2 != nil || err3 != nil {
			t.Fatalf("%q: %v, %v, %v", v[0], err1, err2, err3)
		}
		if got := Bytes([]byte(code), 0, WRPKRU|XRSTOR, nil); len(got) != want {
			t.Errorf("%s: found %v, want %d", name, got, want)
		}
	}
}
