// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
)

// cleaner is what testnet needs of a test. Fatal panics.
type cleaner struct {
	undo []func()
	errs []error
}

func (c *cleaner) Helper()           {}
func (c *cleaner) Cleanup(f func())  { c.undo = append(c.undo, f) }
func (c *cleaner) Error(args ...any) { c.errs = append(c.errs, errors.New(fmt.Sprint(args...))) }
func (c *cleaner) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func (c *cleaner) clean() error {
	for i := len(c.undo) - 1; i >= 0; i-- {
		c.undo[i]()
	}
	return errors.Join(c.errs...)
}
