// SPDX-License-Identifier: Apache-2.0

// Package attack attacks a cell's kernel and the gates to it from the cell's
// own user code. Each program in programs is one attack; the tests run them
// and, as a control, run some with the defence switched off.
package attack
