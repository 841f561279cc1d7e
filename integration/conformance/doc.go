// SPDX-License-Identifier: Apache-2.0

// Package conformance holds tests that a cell behaves as a host does: programs
// that pass on the host have to pass in a cell.
package conformance
