// SPDX-License-Identifier: Apache-2.0

// Package programs tests that debuggers, language runtimes and sanitizers work
// in a cell and say there what they say on the host.
package programs
