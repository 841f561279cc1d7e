// SPDX-License-Identifier: Apache-2.0

// Package rewrite holds tests of system-call rewriting (docs/rewriting.md):
// programs that use sites of every kind in every way that could show a
// difference. They have to pass on the host, in a cell, and in a cell that
// does not rewrite.
package rewrite
