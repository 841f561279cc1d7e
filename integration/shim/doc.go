// SPDX-License-Identifier: Apache-2.0

// Package shim makes every call of containerd's task API on containers in cells,
// through containerd's own Go client against a real containerd, and looks at
// what the calls, the events and the host show: statuses, streams, recovery from
// death of every part, and what is left behind.
package shim
