// SPDX-License-Identifier: Apache-2.0

package boot

// ReadTSC reads the time stamp counter, not earlier than what precedes it.
func ReadTSC() uint64
