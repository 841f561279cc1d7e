/* SPDX-License-Identifier: Apache-2.0 */
/* Where the tests' user programs live. */
#define USER_TEXT 0x400000
#define USER_DATA 0x600000
#define USER_STACK 0x700000 /* top */
