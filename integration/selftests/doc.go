// SPDX-License-Identifier: Apache-2.0

// Package selftests runs the kernel's own tests on the host and in a cell and
// compares, line by line, what passed. A test that passes on the host and not
// in a cell has to be in differences.txt with the reason.
package selftests
