// SPDX-License-Identifier: Apache-2.0

// Package hostile runs guest kernels that are the attacker's: kernel is one that
// makes monitor calls and talks to devices, pager and agent's host with hostile
// values. Such a cell may end in any way that names a reason. Its host process
// must not crash or hang, another cell must go on, and nothing on the host but
// the cell's own files may change.
//
// A short run is part of the tests; PARACELL_FUZZ_TIME=1h go test -timeout 2h
// ./integration/hostile makes a long one. A failure names the arguments of
// driver that bring it back.
package hostile
