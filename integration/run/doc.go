// SPDX-License-Identifier: Apache-2.0

// Package run tests the paracell command from outside: what users see of
// cells. It needs the files that make build leaves in bin.
package run
