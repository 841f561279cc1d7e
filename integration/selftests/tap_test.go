// SPDX-License-Identifier: Apache-2.0

package selftests

import (
	"maps"
	"testing"
)

func TestParse(t *testing.T) {
	got := parse("noise\nok 1 outside\n@@@ a/b 0\nTAP version 13\nok 1 at 0x7f00 in 12 ns\nok 2 # SKIP no\nnot ok 3 bad\n" +
		"@@@ c 139\n[OK]\tfine\n[FAIL] not\n[OK]\tfine\r\n")
	want := passes{"a/b": {"status": 1, "at N in N ns": 1}, "c": {"fine": 2}}
	if !maps.EqualFunc(got, want, func(a, b map[string]int) bool { return maps.Equal(a, b) }) {
		t.Errorf("%v", got)
	}
}
