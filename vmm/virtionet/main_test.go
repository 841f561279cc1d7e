// SPDX-License-Identifier: Apache-2.0

package virtionet_test

import (
	"testing"

	"github.com/paracell/paracell/internal/leakcheck"
)

func TestMain(m *testing.M) { leakcheck.Main(m) }
