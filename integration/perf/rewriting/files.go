// SPDX-License-Identifier: Apache-2.0

// Command files opens, reads and closes a file many times.
package main

import (
	"fmt"
	"os"
	"time"
)

func main() {
	begin := time.Now()
	for range 20000 {
		if _, err := os.ReadFile("/etc/hostname"); err != nil {
			panic(err)
		}
	}
	fmt.Printf("time %.1f ms\n", float64(time.Since(begin).Microseconds())/1e3)
}
