// SPDX-License-Identifier: Apache-2.0

// Package stress runs stress-ng, which verifies what it does, in a cell. What
// fails there has to fail on the host too.
package stress
